"""Train settings with the same budget and the same seeds, and compare them in one table.

    python benchmarks/ablate.py benchmarks/configs/fashion_mnist.yaml

A sweep file holds the training that all settings have in common (it may extend a preset), the seeds, the settings
and the classifier whose features compare the images:

    training: {extends: ../../configs/demo.yaml, epochs: 5}
    classifier: evaluator/referee.safetensors
    num_images: 1000
    seeds: [0, 1, 2]
    settings:
      baseline: {}
      l1: {loss.name: l1}

The same command continues an interrupted sweep: finished trainings are kept, unfinished ones are resumed. Settings
that differ only in how images are sampled share one training. So do settings with and without an average of the
weights, because training never reads the average.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import nn

from charts import setting_panels
from common import image_statistics, markdown_table, own_weights
from lab_ddpm.cli import run
from lab_ddpm.data.dataset import open_dataset
from lab_ddpm.data.images import Images, image_grid, write_png
from lab_ddpm.diffusion.sampling import image_seeds
from lab_ddpm.evaluation.classifiers import Features, load_classifier
from lab_ddpm.evaluation.distances import NEIGHBOUR, compare, extract
from lab_ddpm.evaluation.intervals import as_text, mean_interval
from lab_ddpm.evaluation.scores import found_in
from lab_ddpm.generation.checkpoint import load_pipeline
from lab_ddpm.generation.generate import generate
from lab_ddpm.tools.errors import DataError, UserError
from lab_ddpm.tools.files import read_json, sha256, write_bytes, write_json, write_text
from lab_ddpm.tools.hardware import this_process
from lab_ddpm.tools.shipped import find_shipped
from lab_ddpm.training.config import TrainConfig
from lab_ddpm.training.config_parser import make_config
from lab_ddpm.training.loop import train
from lab_ddpm.training.model import check_settings
from lab_ddpm.training.presets import extended, read_mapping

_SHOWN, _GRID_COLUMNS = 32, 8
_KEYS = {"training", "classifier", "num_images", "seeds", "settings"}
# What a setting may change: budget, seed and images are the same for all.
_SECTIONS = ("model", "loss", "optimizer", "sampling")
_NO_AVERAGE = ("optimizer.ema_decay", 0)


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sweep", type=Path, help="a file such as benchmarks/configs/fashion_mnist.yaml")
    parser.add_argument("--out", type=Path, help="default: ablations/NAME")
    options = parser.parse_args(arguments)
    sweep = read_sweep(options.sweep)
    table = run_sweep(sweep, options.out or Path("ablations") / sweep.name)
    print(table.read_text(encoding="utf-8") + f"wrote {table} and figure.png beside it")


@dataclass(frozen=True)
class Sweep:
    """A sweep file.

    Attributes:
        name: Of the file.
        training: What all settings have in common: nested settings of the config.
        classifier: File of the classifier.
        num_images: Number of generated images of each model, and of real images, that are compared.
        seeds: Each setting is trained with each of them.
        settings: Name -> {dotted key of the config: value}.
    """

    name: str
    training: dict[str, Any]
    classifier: Path
    num_images: int
    seeds: list[int]
    settings: dict[str, dict[str, Any]]

    def sampled(self, setting: str, seed: int, runs_dir: Path) -> TrainConfig:
        """The config of a setting with everything that it changes; it says how images are sampled.

        Raises:
            UserError: A key that is not in the config, or one that must be the same in all settings.
        """
        for key in self.settings[setting]:
            if key.split(".")[0] not in _SECTIONS:
                raise UserError(
                    f"{self.name}: `{key}` must be the same in all settings, got it in {setting!r}; "
                    f"settings may differ in {', '.join(_SECTIONS)}"
                )
        return self._config(self.settings[setting], seed, runs_dir)

    def trained(self, setting: str, seed: int, runs_dir: Path) -> TrainConfig:
        """The config of the training behind a setting, without what only sampling reads."""
        changes = {
            key: value
            for key, value in self.settings[setting].items()
            if not (key.startswith("sampling.") or key == "model.clip_sample" or (key, value) == _NO_AVERAGE)
        }
        return self._config(changes | {"sampling.guidance_scale": 1.0}, seed, runs_dir)

    def _config(self, changes: dict[str, Any], seed: int, runs_dir: Path) -> TrainConfig:
        name = f"{self.name}-{_digest(self.training, sorted(changes.items()), seed)}"
        overrides = ["--seed", str(seed), "--runs_dir", str(runs_dir), "--name", name]
        for key, value in changes.items():
            overrides += [f"--{key}", value if isinstance(value, str) else json.dumps(value)]
        config = make_config(self.training, overrides, source=self.name)
        check_settings(config)
        return config


def read_sweep(path: str | Path) -> Sweep:
    """Read a sweep file. `extends` is relative to its folder; `classifier` is a file there or in the working folder.

    Raises:
        UserError: Naming the file and what is wrong with it.
    """
    path = find_shipped(path)
    content = read_mapping(path)
    if set(content) != _KEYS:
        raise UserError(f"{path}: a sweep must have the keys {sorted(_KEYS)}, got {sorted(map(str, content))}")
    settings, seeds, classifier = content["settings"], content["seeds"], content["classifier"]
    rules = {
        "training": (isinstance(content["training"], dict), "a mapping of settings"),
        "settings": (
            isinstance(settings, dict) and settings and all(isinstance(changes, dict) for changes in settings.values()),
            "a mapping of at least one name to a mapping of config keys",
        ),
        "seeds": (
            isinstance(seeds, list) and seeds and all(type(seed) is int and seed >= 0 for seed in seeds),
            "a list of integers from 0",
        ),
        "num_images": (
            type(content["num_images"]) is int and content["num_images"] > NEIGHBOUR,
            f"an integer of at least {NEIGHBOUR + 1}",
        ),
        "classifier": (isinstance(classifier, str), "the path of a file"),
    }
    for key, (holds, rule) in rules.items():
        if not holds:
            raise UserError(f"{path}: `{key}` must be {rule}, got {content[key]!r}")
    beside = path.parent / classifier
    file = beside if beside.is_file() else find_shipped(classifier)
    return Sweep(path.stem, extended(content["training"], path), file, content["num_images"], seeds, settings)


def run_sweep(sweep: Sweep, out: Path) -> Path:
    """Train and measure every setting; write `table.md`, which is returned, `table.json`, `figure.png` and `images/`.

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
    for (name, seed), (trained, sampled) in configs.items():
        done = out / "measures" / f"{name}-{seed}-{_digest(sampled.name, common)}.json"
        if not done.is_file():
            real, labels = dataset.some(sweep.num_images, seed)
            asked = labels if data.conditional else None
            images = _sample(trained, sampled, asked, len(real), f"{name} {seed}")
            write_png(out / "images" / f"{name}-{seed}.png", image_grid(images[:_SHOWN], _GRID_COLUMNS))
            write_json(done, _compared(classifier, real, images, asked))
        for measure, value in cast(dict[str, float], read_json(done)).items():
            measures.setdefault(measure, {}).setdefault(name, []).append(value)
    images, labels = dataset.some(2 * sweep.num_images, seed=0)
    first, second = np.split(images, 2)
    floor = _compared(classifier, first, second, labels[len(first) :] if data.conditional else None)
    table = {"seeds": sweep.seeds, "num_images": sweep.num_images, "measures": measures, "real": floor}
    write_json(out / "table.json", table)
    write_text(out / "table.md", _table(measures, floor))
    write_bytes(out / "figure.png", setting_panels(measures))
    return out / "table.md"


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
        measures["labels found"] = found_in(classifier, images, asked)["micro"]["mean"]
    return measures | image_statistics(images)


def _digest(*content: object) -> str:
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:8]


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
