"""The report page of a run: one HTML file with everything inside, made from what the run's folder holds.

    config.yaml, metrics.jsonl, samples/     scripts/train.py     -> settings, curves, time, the newest samples
    generated/LIST/                          scripts/generate.py  -> images, denoising strip and animation
    evaluation/metrics.json                  scripts/evaluate.py  -> scores, beside those of the shipped pipeline
    distribution/metrics.json                scripts/evaluate_distribution.py -> scores of other images

What is not there is left out, with the command that makes it. The page needs no network and no JavaScript.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab_ddpm.data.iclevr import OBJECTS, SPLITS
from lab_ddpm.drawing.charts import score_bars, training_curves
from lab_ddpm.generation.checkpoint import PRETRAINED
from lab_ddpm.report.embedding import Embedded, embed_file, embed_themes
from lab_ddpm.report.rendering import render
from lab_ddpm.report.results import (
    Result,
    common_classifier,
    compare_results,
    make_tables,
    naming,
    read_config,
    read_result,
    read_training,
)
from lab_ddpm.tools.errors import DataError
from lab_ddpm.tools.files import read_json, write_text
from lab_ddpm.tools.metrics_log import read_records
from lab_ddpm.tools.shipped import find
from lab_ddpm.training.config import TrainConfig


@dataclass(frozen=True)
class Gallery:
    """The images of one `generated/LIST/`: (image, caption, entry of the manifest) each."""

    name: str
    images: Sequence[tuple[Embedded, str, Mapping[str, Any]]]
    strip: Embedded | None
    animation: Embedded | None


def write_report(run: Path, out: Path, pretrained: Path = PRETRAINED) -> None:
    """Write the page about the run in folder `run` to the file `out`.

    Args:
        run: e.g. runs/iclevr.
        out: e.g. runs/iclevr/report.html.
        pretrained: The shipped pipeline's folder: its `metrics.json` and, to tell how long it was trained, the
            `metrics.jsonl` and `config.yaml` of its run.

    Raises:
        DataError: `run` is not the folder of a run, or a file in it is broken; the file is named.
    """
    if not run.is_dir():
        raise DataError(f"{run}: no such run folder")
    if (run / "model_index.json").is_file():
        above = next((folder for folder in list(run.parents)[:2] if (folder / "config.yaml").is_file()), None)
        hint = f"; did you mean {above}?" if above else ""
        raise DataError(f"{run}: a pipeline, and a report is about the folder of a run{hint}")
    if not any((run / name).exists() for name in ("config.yaml", "metrics.jsonl", "best", "generated")):
        raise DataError(f"{run}: not the folder of a run (it has no config.yaml)")
    pretrained = find(pretrained)
    own = read_result("this run", run, run / "evaluation" / "metrics.json")
    shipped = read_result("shipped pipeline", pretrained, pretrained / "metrics.json")
    results = [result for result in (own, shipped) if result is not None]
    galleries = _galleries(run / "generated")
    samples = sorted((run / "samples").glob("step_*.png"))
    config = run / "config.yaml"
    settings = read_config(run) or TrainConfig()
    data, conditional = settings.data, settings.model.conditional
    is_conditional_iclevr = data.dataset == "iclevr" and conditional
    source = config if config.is_file() else "configs/NAME.yaml"
    wanted = (
        f"--split test --out {run / 'generated' / 'test'}"
        if is_conditional_iclevr
        else f"--out {run / 'generated' / ('labels' if conditional else 'unconditional')}"
    )
    page = render(
        "report.html",
        run=run,
        pretrained=pretrained,
        training=read_training(run),
        own=own,
        shipped=shipped,
        classifier=common_classifier(results),
        comparison=compare_results(own, shipped),
        tables=make_tables(results),
        num_labels=len(OBJECTS),
        curves=_curves(run / "metrics.jsonl"),
        bars=_bars(own, run / "evaluation" / "metrics.json"),
        samples=[(int(path.stem.removeprefix("step_")), embed_file(path)) for path in samples[-1:]],
        galleries=galleries,
        config=config.read_text(encoding="utf-8") if config.is_file() else None,
        data=data,
        is_conditional_iclevr=is_conditional_iclevr,
        has_best=(run / "best").exists(),
        distribution=_distribution(run / "distribution" / "metrics.json"),
        train=f"accelerate launch scripts/train.py --config {source}",
        generate=f"python scripts/generate.py --checkpoint {run / 'best'} {wanted} --progress",
    )
    write_text(out, page)


def _distribution(metrics: Path) -> Mapping[str, Any] | None:
    if not metrics.is_file():
        return None
    with naming(metrics):
        content: Any = read_json(metrics)
        return {key: content[key] for key in ("scores", "held_out", "num_held_out", "seeds", "num_images", "features")}


def _curves(log: Path) -> dict[str, Embedded]:
    with naming(log):
        records = read_records(log)
        return embed_themes(training_curves(records, "light"), training_curves(records, "dark"))


def _bars(own: Result | None, metrics: Path) -> dict[str, Embedded]:
    classifier = common_classifier([own] if own else [])
    if own is None or classifier is None:
        return {}
    with naming(metrics):
        light, dark = score_bars(own.splits, classifier, "light"), score_bars(own.splits, classifier, "dark")
        return embed_themes(light, dark)


def _galleries(folder: Path) -> list[Gallery]:
    """All of `generated/`: known lists in their usual order, then others by name."""
    manifests = sorted(folder.glob("*/manifest.json"))
    order = {name: place for place, name in enumerate(SPLITS)}
    galleries = []
    for manifest in sorted(manifests, key=lambda path: order.get(path.parent.name, len(order))):
        place = manifest.parent
        strip, animation = place / "strip.png", place / "denoising.gif"
        with naming(manifest):
            content: Any = read_json(manifest)
            images = [
                (embed_file(place / Path(entry["file"]).name), ", ".join(entry["condition"]), {**content, **entry})
                for entry in content["images"]
            ]
        galleries.append(
            Gallery(
                place.name,
                images,
                embed_file(strip) if strip.is_file() else None,
                embed_file(animation) if animation.is_file() else None,
            )
        )
    return galleries
