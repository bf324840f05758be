"""The scores of a run and of the shipped pipeline, read back, compared and laid out in tables."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab_ddpm.drawing.charts import SplitScores
from lab_ddpm.evaluation.classifiers import CLASSIFIERS
from lab_ddpm.evaluation.object_scores import Score, Scores
from lab_ddpm.tools.errors import DataError, UserError
from lab_ddpm.tools.files import read_json
from lab_ddpm.tools.metrics_log import read_records
from lab_ddpm.training.config import TrainConfig
from lab_ddpm.training.config_parser import parse_config


@dataclass(frozen=True)
class Training:
    """How long a model was trained: wall time with its evaluations, images shown to it, epochs done and to do.

    And the pipeline that it began with, whose own training is not counted; None for random weights.
    """

    seconds: float
    steps: int
    epochs: float
    all_epochs: int
    images: int
    init_from: str | None


@dataclass(frozen=True)
class Result:
    """The content of a `metrics.json`, and the training behind it where that is known."""

    title: str
    splits: SplitScores
    lists: Mapping[str, str]  # SHA-256 of the condition list, by split
    classifiers: Mapping[str, str]  # SHA-256 of the file, by name
    sampler: Mapping[str, Any]
    training: Training | None


@dataclass(frozen=True)
class Table:
    """The scores on one list: a column per (result, classifier), a row per measure."""

    split: str
    columns: list[tuple[str, str]]
    rows: list[tuple[str, list[Score | None]]]


def read_config(folder: Path) -> TrainConfig | None:
    """The settings of the run, if they are there.

    Raises:
        DataError: They are not those of a run.
    """
    file = folder / "config.yaml"
    if not file.is_file():
        return None
    try:
        return parse_config(["--config", str(file)])
    except UserError as error:
        raise DataError(str(error)) from None


def read_training(folder: Path) -> Training | None:
    """From the log and the settings of a run, as far as it has come."""
    config, log = read_config(folder), folder / "metrics.jsonl"
    if config is None:
        return None
    with naming(log):
        records = read_records(log)
        if not records:
            return None
        last = records[-1]
        images = last["step"] * config.batch_size
        return Training(last["seconds"], last["step"], last["epoch"], config.epochs, images, config.init_from)


def read_result(title: str, folder: Path, metrics: Path) -> Result | None:
    """The scores in the file `metrics` of the model whose run, as far as it is there, is in `folder`."""
    if not metrics.is_file():
        return None
    with naming(metrics):
        content: Any = read_json(metrics)
        sampler = {key: content.get(key) for key in ("scheduler", "steps", "guidance_scale", "guidance_stop", "seeds")}
        for by_classifier in content["splits"].values():
            for scores in by_classifier.values():
                if missing := Scores.__required_keys__ - scores.keys():
                    raise KeyError(*missing)
        lists = {split: content["lists"][split] for split in content["splits"]}
        classifiers = {name: entry["sha256"] for name, entry in content["classifiers"].items()}
    return Result(title, content["splits"], lists, classifiers, sampler, read_training(folder))


def common_classifier(results: Sequence[Result]) -> str | None:
    """The classifier to compare by: the last of `CLASSIFIERS`, the referee, if it has scored everything."""
    scored = [set(by_classifier) for result in results for by_classifier in result.splits.values()]
    common = set.intersection(*scored) if scored else set()
    return next((name for name in reversed(CLASSIFIERS) if name in common), None)


def compare_results(own: Result | None, shipped: Result | None) -> str | None:
    """What the intervals say about the run against the shipped pipeline, over the lists that both were scored on."""
    if own is None or shipped is None or (name := common_classifier([own, shipped])) is None:
        return None
    common = [split for split in own.splits if split in shipped.splits]
    if not common:
        return None
    same_lists = all(own.lists[split] == shipped.lists[split] for split in common)
    if not same_lists or own.classifiers.get(name) != shipped.classifiers.get(name):
        return "Measured on other condition lists, or by another classifier: not to be compared."
    pairs = [
        (own.splits[split][name]["micro"]["ci95"], shipped.splits[split][name]["micro"]["ci95"]) for split in common
    ]
    if all(mine[1] < theirs[0] for mine, theirs in pairs):
        return "The intervals lie apart: the shipped pipeline is the better one."
    if all(mine[0] > theirs[1] for mine, theirs in pairs):
        return "The intervals lie apart: this run is the better one."
    return "On at least one list the intervals overlap: these numbers do not settle which is the better one."


def make_tables(results: Sequence[Result]) -> list[Table]:
    """One table for each list that any of the results has."""
    splits = dict.fromkeys(split for result in results for split in result.splits)
    tables = []
    for split in splits:
        scores: dict[tuple[str, str], Scores] = {
            (result.title, name): scores for result in results for name, scores in result.splits.get(split, {}).items()
        }
        rows: list[tuple[str, list[Score | None]]] = [
            ("objects found", [entry["micro"] for entry in scores.values()]),
            ("images with all objects", [entry["exact_match"] for entry in scores.values()]),
        ]
        for count in sorted({count for entry in scores.values() for count in entry["by_object_count"]}, key=int):
            rows.append(
                (f"objects found, of {count} asked", [entry["by_object_count"].get(count) for entry in scores.values()])
            )
        tables.append(Table(split, list(scores), rows))
    return tables


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Turn what a file of the wrong shape makes go wrong into a `DataError` that names it."""
    try:
        yield
    except UserError:
        raise
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise DataError(f"{path}: not as this program writes it ({type(error).__name__}: {error})") from None
