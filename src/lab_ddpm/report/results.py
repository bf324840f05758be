"""The settings, the training and the scores of a run, read from its folder, and compared with the shipped pipeline."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab_ddpm.drawing.charts import SplitScores
from lab_ddpm.evaluation.classifiers import CLASSIFIERS
from lab_ddpm.evaluation.counter import Counts
from lab_ddpm.evaluation.intervals import Score
from lab_ddpm.evaluation.scores import Scores
from lab_ddpm.tools.errors import DataError, UserError
from lab_ddpm.tools.files import read_json
from lab_ddpm.training.config import TrainConfig
from lab_ddpm.training.config_parser import parse_config
from lab_ddpm.training.metrics_log import read_records


@dataclass(frozen=True)
class Training:
    """How long a model was trained."""

    seconds: float  # with evaluations
    steps: int
    epochs: float  # so far
    all_epochs: int  # of the whole run
    images: int  # shown, with repetitions
    init_from: str | None  # the pipeline that it started from, whose own training is not counted


@dataclass(frozen=True)
class Result:
    """The content of a `metrics.json`, and the training of its model if that is known."""

    title: str
    splits: SplitScores
    counted: Mapping[str, Counts]  # by split
    lists: Mapping[str, str]  # split -> SHA-256 of the condition list
    classifiers: Mapping[str, str]  # name -> SHA-256 of the file
    sampling: Mapping[str, Any]
    training: Training | None


@dataclass(frozen=True)
class Table:
    """The scores on one list, with a column per (result, classifier)."""

    split: str
    columns: list[tuple[str, str]]
    rows: list[tuple[str, list[Score | None]]]


def read_config(folder: Path) -> TrainConfig | None:
    """The settings of a run; None if it has no config.yaml.

    Raises:
        DataError: The file is broken.
    """
    file = folder / "config.yaml"
    if not file.is_file():
        return None
    try:
        return parse_config(["--config", str(file)])
    except UserError as error:
        raise DataError(str(error)) from None


def read_training(folder: Path) -> Training | None:
    """How long a run has trained; None if it has no settings or no log."""
    config, log = read_config(folder), folder / "metrics.jsonl"
    with naming(log):
        records = read_records(log)
        if config is None or not records:
            return None
        last = records[-1]
        images = last["step"] * config.batch_size
        return Training(last["seconds"], last["step"], last["epoch"], config.epochs, images, config.init_from)


def read_result(title: str, folder: Path, metrics: Path) -> Result | None:
    """The scores in the file `metrics`, if it exists, of the model whose run is in `folder`."""
    if not metrics.is_file():
        return None
    with naming(metrics):
        content: Any = read_json(metrics)
        sampling = {key: content.get(key) for key in ("scheduler", "steps", "guidance_scale", "seeds")}
        for by_classifier in content["splits"].values():
            for scores in by_classifier.values():
                if missing := Scores.__required_keys__ - scores.keys():
                    raise KeyError(*missing)
        lists = {split: content["lists"][split] for split in content["splits"]}
        classifiers = {name: entry["sha256"] for name, entry in content["classifiers"].items()}
        counted = {split: Counts(**content["counted"][split]) for split in lists}
    return Result(title, content["splits"], counted, lists, classifiers, sampling, read_training(folder))


def common_classifier(results: Sequence[Result]) -> str | None:
    """The classifier that has scored all lists of all results: the referee if possible."""
    scored = [set(by_classifier) for result in results for by_classifier in result.splits.values()]
    common = set.intersection(*scored) if scored else set()
    return next((name for name in reversed(CLASSIFIERS) if name in common), None)


def compare_results(own: Result | None, shipped: Result | None) -> str | None:
    """Say whether the run or the shipped pipeline is better, by the intervals on the lists that both were scored on."""
    if own is None or shipped is None or (name := common_classifier([own, shipped])) is None:
        return None
    common = [split for split in own.splits if split in shipped.splits]
    if not common:
        return None
    same_lists = all(own.lists[split] == shipped.lists[split] for split in common)
    if not same_lists or own.classifiers.get(name) != shipped.classifiers.get(name):
        return "They were scored on different condition lists or by different classifiers and cannot be compared."
    pairs: list[Any] = [  # these scores always have intervals
        (own.splits[split][name]["micro"]["ci95"], shipped.splits[split][name]["micro"]["ci95"]) for split in common
    ]
    if all(mine[1] < theirs[0] for mine, theirs in pairs):
        return "The intervals do not overlap: the shipped pipeline is better."
    if all(mine[0] > theirs[1] for mine, theirs in pairs):
        return "The intervals do not overlap: this run is better."
    return "On at least one list the intervals overlap, so these scores do not show which one is better."


def make_tables(results: Sequence[Result]) -> list[Table]:
    """One table for each list that any of the results was scored on."""
    tables = []
    for split in dict.fromkeys(split for result in results for split in result.splits):
        columns = {
            (result.title, name): scores for result in results for name, scores in result.splits.get(split, {}).items()
        }
        counted = {result.title: result.counted[split] for result in results if split in result.counted}
        counts = sorted({count for scores in columns.values() for count in scores["by_object_count"]}, key=int)
        rows: list[tuple[str, list[Score | None]]] = [
            ("objects found", [scores["micro"] for scores in columns.values()]),
            ("images with all objects", [scores["exact_match"] for scores in columns.values()]),
            ("images that are right (counter)", [counted[title]["right"] for title, _ in columns]),
        ]
        for count in counts:
            values = [scores["by_object_count"].get(count) for scores in columns.values()]
            rows.append((f"objects found, of {count} asked for", values))
        tables.append(Table(split, list(columns), rows))
    return tables


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Turn errors that a file's unexpected content causes into a `DataError` that names the file."""
    try:
        yield
    except UserError:
        raise
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise DataError(f"{path}: not in the form that this program writes ({type(error).__name__}: {error})") from None
