"""A sweep: the same training with one thing changed at a time, each with the same budget and the same seeds.

A sweep file holds the training that all settings have in common (which may extend a preset), the seeds, the settings
and the classifier whose features compare the images:

    training: {extends: ../demo.yaml, epochs: 5}
    classifier: evaluator/referee.safetensors
    num_images: 1000
    seeds: [0, 1, 2]
    settings:
      baseline: {}
      l1: {objective.loss: l1}

Started again it goes on: finished trainings are kept, unfinished ones resumed. Settings that change only how images
are sampled share one training; so do settings with and without an average of the weights, which training never reads.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import nn

from lab_ddpm.data.conditions import Condition
from lab_ddpm.data.dataset import open_dataset
from lab_ddpm.data.image_cache import ImageDataset
from lab_ddpm.data.images import Images, image_grid, write_png
from lab_ddpm.diffusion.reverse_process import image_seeds
from lab_ddpm.drawing.charts import setting_panels
from lab_ddpm.evaluation.classifiers import Features, load_classifier, predict
from lab_ddpm.evaluation.distribution import NEIGHBOUR, compare, extract
from lab_ddpm.evaluation.image_statistics import image_statistics
from lab_ddpm.evaluation.intervals import as_text, mean_interval
from lab_ddpm.evaluation.object_scores import labels_found
from lab_ddpm.generation.checkpoint import load_pipeline
from lab_ddpm.generation.sampler import Sampler
from lab_ddpm.tools.errors import DataError, UserError
from lab_ddpm.tools.files import read_json, sha256, write_bytes, write_json, write_text
from lab_ddpm.tools.hardware import this_process
from lab_ddpm.tools.presets import extended, read_mapping
from lab_ddpm.tools.shipped import find
from lab_ddpm.tools.tables import markdown_table
from lab_ddpm.training.config import TrainConfig
from lab_ddpm.training.config_parser import make_config
from lab_ddpm.training.run_folder import settled
from lab_ddpm.training.state import newest_weights

_GRID_COLUMNS = 8
_SHOWN = 32
_KEYS = {"training", "classifier", "num_images", "seeds", "settings"}
# What a setting may change: budget, seed and images are those of all, and the rest is no matter to samples.
_SECTIONS = ("model", "diffusion", "objective", "optimizer")
_SAMPLING = ("evaluation.scheduler", "evaluation.steps", "evaluation.guidance_scale", "evaluation.guidance_stop")


@dataclass(frozen=True)
class Sweep:
    """A sweep file.

    Attributes:
        name: Of the file.
        training: What all settings have in common: nested settings of the config.
        classifier: File of the classifier.
        num_images: Samples of each model, and real images, that are compared.
        seeds: Each setting is trained with each of them.
        settings: Name -> {dotted key of the config: value}.
    """

    name: str
    training: dict[str, Any]
    classifier: Path
    num_images: int
    seeds: list[int]
    settings: dict[str, dict[str, Any]]

    def config(self, setting: str, seed: int, runs_dir: Path) -> TrainConfig:
        """The training and the sampling of a setting; its name says what training it shares with others.

        Raises:
            UserError: A setting that is none of the config, or one of what all must have in common.
        """
        overrides = ["--seed", str(seed), "--runs_dir", str(runs_dir)]
        for key, value in self.settings[setting].items():
            if key == "model.conditional" or (key.split(".")[0] not in _SECTIONS and key not in _SAMPLING):
                raise UserError(
                    f"{self.name}: `{key}` must be the same in all settings, got it in {setting!r}; they may differ in "
                    f"{', '.join(_SECTIONS)} (but for `model.conditional`) and {', '.join(_SAMPLING)}"
                )
            overrides += [f"--{key}", json.dumps(value) if not isinstance(value, str) else value]
        config = make_config(self.training, overrides, source=self.name)
        return replace(config, name=f"{self.name}-{_digest(settled(self.trained(config)))}")

    def trained(self, config: TrainConfig) -> TrainConfig:
        """The training behind the config of a setting, to which its sampling is no matter."""
        common = make_config(self.training, source=self.name)
        return replace(
            config,
            diffusion=replace(config.diffusion, clip_sample=common.diffusion.clip_sample),
            optimizer=replace(config.optimizer, ema_decay=config.optimizer.ema_decay or common.optimizer.ema_decay),
            evaluation=replace(  # of what a run samples while it trains, which must fit the setting
                common.evaluation,
                guidance_scale=1.0,
                steps=min(common.evaluation.steps, config.diffusion.num_train_timesteps),
            ),
        )


def read_sweep(path: str | Path) -> Sweep:
    """Read a sweep file. `extends` is relative to its folder; `classifier` is a file there, or found as all others are.

    Raises:
        UserError: Naming the file and what is wrong with it.
    """
    path = find(path)
    content = read_mapping(path)
    if set(content) != _KEYS:
        raise UserError(f"{path}: a sweep must have the keys {sorted(_KEYS)}, got {sorted(map(str, content))}")
    if not isinstance(content["training"], dict):
        raise UserError(f"{path}: `training` must be a mapping of settings, got {content['training']!r}")
    settings, seeds = content["settings"], content["seeds"]
    if not isinstance(settings, dict) or not all(isinstance(changes, dict) for changes in settings.values()):
        raise UserError(f"{path}: `settings` must map names to mappings of config keys, got {settings!r}")
    if not settings:
        raise UserError(f"{path}: `settings` must have at least one entry, got none")
    if not isinstance(seeds, list) or not seeds or not all(type(seed) is int and seed >= 0 for seed in seeds):
        raise UserError(f"{path}: `seeds` must be a list of integers from 0, got {seeds!r}")
    if type(content["num_images"]) is not int or content["num_images"] <= NEIGHBOUR:
        raise UserError(
            f"{path}: `num_images` must be an integer of at least {NEIGHBOUR + 1}, got {content['num_images']!r}"
        )
    if not isinstance(content["classifier"], str):
        raise UserError(f"{path}: `classifier` must be the path of a file, got {content['classifier']!r}")
    beside = path.parent / content["classifier"]
    return Sweep(
        path.stem,
        extended(content["training"], path),
        beside if beside.is_file() else find(content["classifier"]),
        content["num_images"],
        seeds,
        settings,
    )


def run_sweep(sweep: Sweep, out: Path, train: Callable[[TrainConfig], Path]) -> Path:
    """Train and measure every setting; write `out/table.md`, `out/table.json`, `out/figure.png` and `out/images/`.

    Args:
        sweep: From `read_sweep`.
        out: Also holds the runs, in `out/runs/`.
        train: Trains a config, and returns the folder of its run: that of scripts/train.py.

    Returns:
        The table.

    Raises:
        UserError: A setting that is no setting of the config.
        DataError: Unusable images or classifier. Both come before anything is trained.
    """
    configs = {(name, seed): sweep.config(name, seed, out / "runs") for name in sweep.settings for seed in sweep.seeds}
    first = next(iter(configs.values()))
    dataset = open_dataset(first.data.dataset, first.data.root, first.data.image_size)
    if len(dataset) < 2 * sweep.num_images:  # as many again are compared with them as the floor of all measures
        raise DataError(
            f"{sweep.name}: `num_images` must be at most half of the {len(dataset)} images in {first.data.root}, "
            f"got {sweep.num_images}"
        )
    channels = dataset.images.shape[-1]
    classifier = load_classifier(sweep.classifier, dataset.labels or None, channels)
    Features(classifier)  # of the referee's architecture alone
    material = _digest(dataset.fingerprint(), sha256(sweep.classifier))
    measures: dict[str, dict[str, list[float]]] = {}  # measure -> setting -> a value per seed
    for (name, seed), config in configs.items():
        digest = _digest(settled(config), sweep.num_images, material)
        done = out / "measures" / f"{name}-{seed}-{digest}.json"
        for measure, value in _measured(sweep, name, config, dataset, classifier, done, out, train).items():
            measures.setdefault(measure, {}).setdefault(name, []).append(value)
    real = _real(sweep, dataset, classifier, first.model.conditional)
    table = {"seeds": sweep.seeds, "num_images": sweep.num_images, "measures": measures, "real": real}
    write_json(out / "table.json", table)
    write_text(out / "table.md", _table(sweep, measures, real))
    write_bytes(out / "figure.png", setting_panels(measures))
    return out / "table.md"


def _measured(
    sweep: Sweep,
    name: str,
    config: TrainConfig,
    dataset: ImageDataset,
    classifier: nn.Module,
    done: Path,
    out: Path,
    train: Callable[[TrainConfig], Path],
) -> dict[str, float]:
    """Train one setting with one seed, sample it and compare the samples with the training images; kept in `done`."""
    if done.is_file():
        return cast(dict[str, float], read_json(done))
    run = train(sweep.trained(config))
    pipeline = load_pipeline(run / "last").to(this_process().device)
    if not config.optimizer.ema_decay:
        pipeline.denoiser.load_state_dict(newest_weights(run))
    pipeline.denoiser.register_to_config(clip_sample=config.diffusion.clip_sample)
    real, labels = dataset.some(sweep.num_images, config.seed)
    asked = labels if config.model.conditional else None
    conditions: list[Condition] = [()] * len(real)
    evaluation = config.evaluation
    sampler = Sampler(
        pipeline, evaluation.scheduler, evaluation.steps, evaluation.guidance_scale, evaluation.guidance_stop
    )
    seeds = image_seeds(config.seed, len(real))
    rows = conditions if asked is None else asked
    images = sampler.sample(rows, seeds, batch_size=128, progress=f"{name} {config.seed}").images
    write_png(out / "images" / f"{name}-{config.seed}.png", image_grid(images[:_SHOWN], _GRID_COLUMNS))
    measures = _compared(classifier, real, images, asked)
    write_json(done, measures)
    return measures


def _real(sweep: Sweep, dataset: ImageDataset, classifier: nn.Module, conditional: bool) -> dict[str, float]:
    """The same measures for real images: one half of a random choice of them against the other."""
    count = sweep.num_images
    images, labels = dataset.some(2 * count, seed=0)
    return _compared(classifier, images[:count], images[count:], labels[count:] if conditional else None)


def _compared(classifier: nn.Module, real: Images, images: Images, asked: torch.Tensor | None) -> dict[str, float]:
    """All measures of `images`; against their labels too where they were asked for some."""
    features = Features(classifier.to(this_process().device))
    measures = compare(extract(features, real), extract(features, images))
    if asked is not None:
        measures["labels found"] = labels_found(predict(classifier, images), asked)
    return measures | image_statistics(images)


def _digest(*content: object) -> str:
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:8]


def _table(sweep: Sweep, measures: dict[str, dict[str, list[float]]], real: dict[str, float]) -> str:
    """Markdown: a row per setting, and what each of the later ones changes of the first one, seed by seed."""
    baseline, *others = sweep.settings
    rows = [[name, *(as_text(mean_interval(values[name])) for values in measures.values())] for name in sweep.settings]
    rows.append(["real images", *(f"{real[measure]:.3g}" for measure in measures)])
    for name in others:
        changes = [np.subtract(values[name], values[baseline]).tolist() for values in measures.values()]
        rows.append([f"{name} - {baseline}", *(as_text(mean_interval(change)) for change in changes)])
    return markdown_table(["setting", *measures], rows)
