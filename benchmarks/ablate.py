"""Train settings with the same budget and the same seeds, and compare them in one table.

    python benchmarks/ablate.py benchmarks/configs/fashion_mnist.yaml benchmarks/configs/cifar10.yaml

`sweep.py` says what such a file holds. The same command continues an interrupted sweep: finished trainings are kept,
unfinished ones are resumed. Settings that differ only in how images are sampled share one training. So do settings with
and without an average of the weights, because training never reads the average.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import nn

from charts import SettingFigure, setting_figure
from common import image_statistics, markdown_table, own_weights
from lab_ddpm.cli import run
from lab_ddpm.data.images import Images, image_grid, write_png
from lab_ddpm.data.open_dataset import open_dataset
from lab_ddpm.diffusion.sampling import image_seeds
from lab_ddpm.evaluation.classifiers import Features, load_classifier
from lab_ddpm.evaluation.distances import compare, extract
from lab_ddpm.evaluation.intervals import as_text, mean_interval
from lab_ddpm.evaluation.scores import found_in
from lab_ddpm.generation.checkpoint import load_pipeline
from lab_ddpm.generation.generate import generate
from lab_ddpm.tools.errors import DataError, UserError
from lab_ddpm.tools.files import read_json, sha256, write_bytes, write_json, write_text
from lab_ddpm.tools.hardware import this_process
from lab_ddpm.training.config import TrainConfig
from lab_ddpm.training.loop import train
from sweep import Sweep, digest, read_sweep

_SHOWN, _GRID_COLUMNS = 32, 8
_IN_FIGURES = ("frechet", "sharpness", "brightness", "saturation")


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sweeps", type=Path, nargs="+", help="files such as benchmarks/configs/fashion_mnist.yaml")
    parser.add_argument("--out", type=Path, default=Path("ablations"), help="default: ablations")
    options = parser.parse_args(arguments)
    sweeps = [read_sweep(path) for path in options.sweeps]
    if len({sweep.name for sweep in sweeps}) < len(sweeps):
        raise UserError(f"the names of sweep files must differ, got {', '.join(sweep.name for sweep in sweeps)}")
    for sweep in sweeps:
        print(run_sweep(sweep, options.out / sweep.name).read_text(encoding="utf-8"))
    figures = write_figures(sweeps, options.out)
    print(f"wrote to {options.out}/: table.md in the folder of each sweep; figures: {', '.join(figures) or 'none'}")


def run_sweep(sweep: Sweep, out: Path) -> Path:
    """Train and measure every setting; write `table.md`, which is returned, `table.json` and `images/`.

    Args:
        sweep: From `read_sweep`.
        out: Where the files go; also holds the runs, in `out/runs/`.

    Raises:
        UserError: Unusable settings, images or classifier. It comes before anything is trained.
    """
    configs = {
        (name, seed): (sweep.trained(name, seed, out / "runs"), sweep.sampled(name, seed, out / "runs"))
        for name in sweep.settings
        for seed in sweep.seeds
    }
    data = next(iter(configs.values()))[0].data
    dataset = open_dataset(data.dataset, data.root, data.image_size, **data.hub_options)
    if len(dataset) < 2 * sweep.num_images:  # one half of the real images is compared with the other
        raise DataError(
            f"{sweep.name}: `num_images` must be at most half of the {len(dataset)} images in {data.root}, "
            f"got {sweep.num_images}"
        )
    classifier = load_classifier(sweep.classifier, dataset.labels or None, dataset.images.shape[-1])
    Features(classifier)  # refuses a resnet18, which has no such features
    common = (sweep.num_images, dataset.fingerprint(), sha256(sweep.classifier))
    measures: dict[str, dict[str, list[float]]] = {}  # measure -> setting -> a value per seed
    grids: dict[str, str] = {}  # setting -> file of images of the first seed
    for (name, seed), (trained, sampled) in configs.items():
        stem = f"{name}-{seed}-{digest(sampled.name, common)}"
        done = out / "measures" / f"{stem}.json"
        if not done.is_file():
            real, labels = dataset.some(sweep.num_images, seed)
            asked = labels if data.conditional else None
            images = _sample(trained, sampled, asked, len(real), f"{name} {seed}")
            write_png(out / "images" / f"{stem}.png", image_grid(images[:_SHOWN], _GRID_COLUMNS))
            write_json(done, _compared(classifier, real, images, asked))
        grids.setdefault(name, f"images/{stem}.png")
        for measure, value in cast(dict[str, float], read_json(done)).items():
            measures.setdefault(measure, {}).setdefault(name, []).append(value)
    images, labels = dataset.some(2 * sweep.num_images, seed=0)
    first, second = np.split(images, 2)
    floor = _compared(classifier, first, second, labels[len(first) :] if data.conditional else None)
    table = {"seeds": sweep.seeds, "num_images": sweep.num_images, "measures": measures, "real": floor, "grids": grids}
    write_json(out / "table.json", table)
    write_text(out / "table.md", _table(measures, floor))
    return out / "table.md"


def write_figures(sweeps: Sequence[Sweep], out: Path) -> list[str]:
    """Write `out/SETTING.png` for each setting that all sweeps have, next to the first one, the baseline.

    Returns:
        The names of the files.
    """
    baseline, *others = sweeps[0].settings
    written = []
    for setting in others:
        if all({baseline, setting} <= sweep.settings.keys() for sweep in sweeps):
            parts = {sweep.name: _figure_part(out / sweep.name, (baseline, setting)) for sweep in sweeps}
            write_bytes(out / f"{setting}.png", setting_figure(parts))
            written.append(f"{setting}.png")
    return written


def _figure_part(folder: Path, settings: tuple[str, str]) -> SettingFigure:
    table: Any = read_json(folder / "table.json")
    measures = {name: {setting: table["measures"][name][setting] for setting in settings} for name in _IN_FIGURES}
    images = {setting: folder / table["grids"][setting] for setting in settings}
    return SettingFigure(images, measures, table["real"])


def _sample(
    trained: TrainConfig, sampled: TrainConfig, asked: torch.Tensor | None, count: int, progress: str
) -> Images:
    """Train a setting, unless that is done, and generate `count` images."""
    folder = train(trained)
    pipeline = load_pipeline(folder / "last").to(this_process().device)
    if not sampled.optimizer.ema_decay:
        pipeline.denoiser.load_state_dict(own_weights(folder))
    pipeline.denoiser.register_to_config(clip_sample=sampled.model["clip_sample"])
    pipeline = pipeline.with_sampling(**sampled.sampling)
    conditions = [()] * count if asked is None else asked
    seeds = image_seeds(sampled.seed, count)
    return generate(pipeline, conditions, seeds, batch_size=128, progress=progress).images


def _compared(classifier: nn.Module, real: Images, images: Images, asked: torch.Tensor | None) -> dict[str, float]:
    """All measures of `images`; also against the labels that they were asked for."""
    features = Features(classifier.to(this_process().device))
    measures = compare(extract(features, real), extract(features, images))
    if asked is not None:
        measures["labels_found"] = found_in(classifier, images, asked)["micro"]["mean"]
    return measures | image_statistics(images)


def _table(measures: Mapping[str, Mapping[str, Sequence[float]]], floor: Mapping[str, float]) -> str:
    """Markdown: a row per setting, and the difference of each from the first one, seed by seed."""
    baseline, *others = settings = list(next(iter(measures.values())))
    rows = [[name, *(as_text(mean_interval(values[name])) for values in measures.values())] for name in settings]
    rows.append(["real images", *(f"{floor[measure]:.3g}" for measure in measures)])
    for name in others:
        changes = [np.subtract(values[name], values[baseline]).tolist() for values in measures.values()]
        rows.append([f"{name} - {baseline}", *(as_text(mean_interval(change)) for change in changes)])
    return markdown_table(["setting", *measures], rows)


if __name__ == "__main__":
    sys.exit(run(main))
