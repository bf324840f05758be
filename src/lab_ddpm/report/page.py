"""The page about a run: one HTML file with everything inside, made from the files in the run's folder.

    config.yaml, metrics.jsonl, samples/     train               -> settings, curves, time, the newest samples
    generated/LIST/                          generate            -> images, denoising strip and animation
    evaluation/metrics.json                  evaluate            -> scores, next to those of the shipped pipeline
    distances/metrics.json                   evaluate --against  -> scores of images other than i-CLEVR

Missing files are left out, and the page names the command that makes them. It needs no network and no JavaScript.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab_ddpm.data.iclevr import OBJECTS, SPLITS
from lab_ddpm.drawing.charts import object_chart, training_curves
from lab_ddpm.generation.checkpoint import PRETRAINED
from lab_ddpm.generation.manifest import read_manifest
from lab_ddpm.report.rendering import Embedded, embed, embed_file, render
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
from lab_ddpm.tools.shipped import find_shipped
from lab_ddpm.training.config_parser import parse_config
from lab_ddpm.training.metrics_log import read_records


@dataclass(frozen=True)
class Gallery:
    """The images of one `generated/LIST/`, each as (image, caption, entry of the manifest)."""

    name: str
    images: Sequence[tuple[Embedded, str, Mapping[str, Any]]]
    strip: Embedded | None
    animation: Embedded | None


def write_page(run: Path, out: Path, pretrained: Path = PRETRAINED) -> None:
    """Write the page about the run in folder `run` to the file `out`.

    Args:
        run: The run's folder, such as runs/iclevr.
        out: The file to write, such as runs/iclevr/report.html.
        pretrained: The shipped pipeline, to compare with.

    Raises:
        DataError: `run` is not the folder of a run, or a file in it is broken.
    """
    _check_run(run)
    pretrained = find_shipped(pretrained)
    own = read_result("this run", run, run / "evaluation" / "metrics.json")
    shipped = read_result("shipped pipeline", pretrained, pretrained / "metrics.json")
    results = [result for result in (own, shipped) if result is not None]
    config = run / "config.yaml"
    data = (read_config(run) or parse_config([])).data
    is_conditional_iclevr = data.dataset == "iclevr" and data.conditional
    samples = sorted((run / "samples").glob("step_*.png"))
    name, split = ("labels" if data.conditional else "unconditional"), ""
    if is_conditional_iclevr:
        name, split = "test", " --split test"
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
        objects=_objects(own, run / "evaluation" / "metrics.json"),
        samples=[(int(path.stem.removeprefix("step_")), embed_file(path)) for path in samples[-1:]],
        galleries=_galleries(run / "generated"),
        config=config.read_text(encoding="utf-8") if config.is_file() else None,
        data=data,
        is_conditional_iclevr=is_conditional_iclevr,
        has_best=(run / "best").exists(),
        of_hub="".join(f" --data.{key} {shlex.quote(value)}" for key, value in data.hub_options.items()),
        distances=_distances(run / "distances" / "metrics.json"),
        train=f"lab-ddpm train --config {config if config.is_file() else 'configs/NAME.yaml'}",
        generate=f"lab-ddpm generate --checkpoint {run / 'best'}{split} --out {run / 'generated' / name} --progress",
    )
    write_text(out, page)


def _check_run(run: Path) -> None:
    """Raise `DataError` unless the folder looks like that of a run."""
    if (run / "model_index.json").is_file():
        raise DataError(f"{run}: this is a pipeline; a report needs the folder of a run, such as runs/iclevr")
    if not any((run / name).exists() for name in ("config.yaml", "metrics.jsonl", "best", "generated")):
        raise DataError(f"{run}: not the folder of a run (it has no config.yaml)")


def _distances(metrics: Path) -> Mapping[str, Any] | None:
    if not metrics.is_file():
        return None
    with naming(metrics):
        content: Any = read_json(metrics)
        return {key: content[key] for key in ("scores", "held_out", "num_held_out", "seeds", "num_images", "features")}


def _curves(log: Path) -> dict[str, Embedded]:
    with naming(log):
        return {name: embed(chart) for name, chart in training_curves(read_records(log)).items()}


def _objects(own: Result | None, metrics: Path) -> Embedded | None:
    classifier = common_classifier([own] if own else [])
    if own is None or classifier is None:
        return None
    with naming(metrics):
        return embed(object_chart(own.splits, classifier))


def _galleries(folder: Path) -> list[Gallery]:
    """All of `generated/`: the known lists in their usual order, then others by name."""
    order = {name: index for index, name in enumerate(SPLITS)}
    galleries = []
    for part in sorted(folder.glob("*/"), key=lambda path: (order.get(path.name, len(order)), path)):
        manifest = read_manifest(part)
        if manifest is None:
            continue
        images = [
            (embed_file(part / entry["file"]), ", ".join(entry["condition"]), {**manifest, **entry})
            for entry in manifest["images"]
        ]
        strip, animation = (
            embed_file(path) if path.is_file() else None for path in (part / "strip.png", part / "denoising.gif")
        )
        galleries.append(Gallery(part.name, images, strip, animation))
    return galleries
