"""The speeds that docs/experiments.md reports, measured in one run on the machine at hand.

Ratios between two figures of one run are worth more than any figure by itself: machines differ, and are noisy.
"""

from __future__ import annotations

import dataclasses
import json
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch

from lab_ddpm.data.conditions import every_label
from lab_ddpm.data.iclevr import OBJECTS
from lab_ddpm.data.images import read_image, to_tensor
from lab_ddpm.data.labelled_images import open_labelled_images
from lab_ddpm.diffusion.pipeline import LabelConditionalPipeline
from lab_ddpm.diffusion.reverse_process import image_seeds
from lab_ddpm.generation.sampler import Sampler
from lab_ddpm.iclevr.condition_lists import write_condition_lists
from lab_ddpm.iclevr.replica.replica import render_replica
from lab_ddpm.tools.errors import UserError, check_at_least
from lab_ddpm.tools.metrics_log import images_per_second, read_records
from lab_ddpm.training.config import TrainConfig
from lab_ddpm.training.config_parser import parse_config

_SCENES = 32
_SECONDS = 5.0


def benchmark(
    configs: Sequence[Path], pipeline: LabelConditionalPipeline, steps: int, train: Callable[[TrainConfig], Path]
) -> list[str]:
    """Measure everything; returns the lines of the report.

    Args:
        configs: Presets whose training speed is measured.
        pipeline: Its sampling speed is measured.
        steps: Training steps to time per preset.
        train: Trains a config, and returns the folder of its run: that of scripts/train.py.

    Raises:
        UserError: A number out of range, or an unusable preset.
    """
    check_at_least("steps", steps, 1)
    presets = [parse_config(["--config", str(config)]) for config in configs]
    for config, preset in zip(configs, presets, strict=True):
        if preset.data.dataset != "iclevr":
            raise UserError(f"`configs` must be presets of i-CLEVR, got {config} of {preset.data.dataset!r}")
    workers = os.cpu_count() or 1
    lines = [f"{workers} cores, {torch.get_num_threads()} torch threads"]
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "data"
        write_condition_lists(root)
        started = time.perf_counter()
        render_replica(root, _SCENES, seed=0, workers=workers)
        images = 3 * _SCENES
        lines.append(f"render: {(time.perf_counter() - started) / images:.3f} s an image ({images} images)")
        lines.append(_reading(root))
        lines += [_training(preset, root, Path(folder), steps, train) for preset in presets]
    lines.append(_sampling(pipeline))
    return lines


def _reading(root: Path) -> str:
    dataset = open_labelled_images(root, 64, OBJECTS)
    paths = [root / "images" / name for name in dataset.names]
    decoding = _rate(lambda index: read_image(paths[index], 64), len(paths))
    cached = _rate(lambda index: to_tensor(dataset.images[index]), len(paths))
    return (
        f"reading: {decoding:.0f} images/s decoded, {cached:.0f} images/s from the cache "
        f"({cached / decoding:.0f} x), one thread"
    )


def _rate(read: Callable[[int], object], count: int) -> float:
    """Calls per second, over random indices."""
    random = np.random.default_rng(0)
    started, calls = time.perf_counter(), 0
    while time.perf_counter() - started < _SECONDS:
        read(int(random.integers(count)))
        calls += 1
    return calls / (time.perf_counter() - started)


def _training(preset: TrainConfig, root: Path, folder: Path, steps: int, train: Callable[[TrainConfig], Path]) -> str:
    """Train `steps` + 1 steps of a preset (the first warms up) without evaluating more than one image."""
    one_condition = folder / "one.json"
    one_condition.write_text(json.dumps([["red cube"]]), encoding="utf-8")
    epochs = -(-(steps + 1) * preset.batch_size // (3 * _SCENES))
    config = dataclasses.replace(
        preset,
        runs_dir=str(folder / "runs"),
        epochs=epochs,
        log_every_steps=1,
        save_every_steps=10**9,
        data=dataclasses.replace(preset.data, root=str(root)),
        evaluation=dataclasses.replace(preset.evaluation, every_epochs=epochs, split=str(one_condition), steps=1),
    )
    run = train(config)
    records = read_records(run / "metrics.jsonl")
    rate = images_per_second(records, config.batch_size)
    last = [record for record in records if "loss" in record][-1]
    return (
        f"train {preset.name}: {rate:.2f} images/s, {100 * last['overhead']:.1f} % of the time outside forward, "
        f"backward and optimizer ({last['step']} steps of {config.batch_size})"
    )


def _sampling(pipeline: LabelConditionalPipeline) -> str:
    """DDPM with all its steps against DDIM with 50, on the same two images."""
    conditions = every_label(pipeline.denoiser.labels, 2)
    seconds = {}
    num_train_timesteps = pipeline.denoiser.config["num_train_timesteps"]
    for name, steps in (("ddim", 50), ("ddpm", num_train_timesteps)):
        sampler = Sampler(pipeline, name, steps)
        started = time.perf_counter()
        sampler.sample(conditions, image_seeds(0, len(conditions)), progress=name)
        seconds[name] = (time.perf_counter() - started) / len(conditions)
    ratio = seconds["ddpm"] / seconds["ddim"]
    return (
        f"sample: ddpm-{num_train_timesteps} {seconds['ddpm']:.2f} s an image, "
        f"ddim-50 {seconds['ddim']:.2f} s an image ({ratio:.1f} x)"
    )
