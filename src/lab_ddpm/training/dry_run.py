"""`train --dry_run`: check the settings and the images, say what was found and what it needs, and keep nothing."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from statistics import median

import numpy as np
import torch
from accelerate import Accelerator

from lab_ddpm.data.batches import check_batch_size
from lab_ddpm.data.iclevr import MOST_OBJECTS, OBJECTS
from lab_ddpm.data.image_dataset import ImageDataset
from lab_ddpm.data.images import height_width, mask_size
from lab_ddpm.training.accelerator import make_accelerator
from lab_ddpm.training.config import TrainConfig
from lab_ddpm.training.cost import training_cost
from lab_ddpm.training.initial_weights import load_source
from lab_ddpm.training.progress import Progress
from lab_ddpm.training.provide_images import describe_lack, find_missing
from lab_ddpm.training.run_folder import check_same_settings
from lab_ddpm.training.selection import make_selection
from lab_ddpm.training.state import newest_state
from lab_ddpm.training.stream import count_steps, open_images
from lab_ddpm.training.trial import first_steps, settle_micro_batches, trial_steps

_STEPS, _SECONDS = 20, 30.0  # measured at most, after a first step
_FEW_STEPS = 2000


def dry_run(config: TrainConfig) -> None:
    """Print what a training would start with, and what it needs on this machine. All processes call it.

    Raises:
        UserError, DataError: As for `loop.train`, before it reads a state.
    """
    accelerator, run = make_accelerator(config), Path(config.runs_dir) / config.name
    check_same_settings(config, run)
    images, count = _find_images(config, accelerator)
    if config.init_from is not None and newest_state(run) is None:
        load_source(config.init_from, {**config.model, "in_channels": images.images.shape[-1]})
    config = settle_micro_batches(config, images, accelerator, run)
    check_batch_size(config.batch_size // config.num_micro_batches, count)
    _, steps = count_steps(config, count)
    warning = "; so few steps are rarely enough" if steps < _FEW_STEPS else ""
    accelerator.print(
        f"dry run, nothing was trained: epochs: {config.epochs}, steps: {steps:,}{warning}\n"
        f"{_needs(config, images, steps, accelerator)}"
    )


def _find_images(config: TrainConfig, accelerator: Accelerator) -> tuple[ImageDataset, int]:
    """Images to try a step with, and how many there will be. Checks what evaluations need."""
    data, missing = config.data, find_missing(config)
    if missing == "images":
        accelerator.print(f"{describe_lack(data.root)}: a replica of {data.num_scenes:,} scenes would be rendered")
        return _stand_ins(config), MOST_OBJECTS * data.num_scenes
    without_layout = dataclasses.replace(config, model={**config.model, "layout_scale": 0})
    images = open_images(without_layout if missing == "masks" else config, accelerator)
    make_selection(config, images, accelerator.device, Progress())
    if missing != "masks":
        return images, len(images)
    accelerator.print(f"{data.root} lacks masks: they would be found from the differences of its images")
    return _stand_ins(config), len(images)


def _stand_ins(config: TrainConfig) -> ImageDataset:
    """Black images in place of those of i-CLEVR, each with the first object in its corner."""
    count, size, labels = config.batch_size, height_width(config.data.image_size), OBJECTS * config.data.conditional
    masks = np.zeros((count, *mask_size(size), 1), np.uint8)
    masks[:, 0, 0] = 1
    return ImageDataset(
        names=[""] * count,
        images=np.zeros((count, *size, 3), np.uint8),
        class_labels=torch.eye(count, len(labels))[:1].repeat(count, 1),
        labels=labels,
        fit="squash",
        content="",
        masks=masks if config.model["layout_scale"] else None,
    )


def _needs(config: TrainConfig, images: ImageDataset, steps: int, accelerator: Accelerator) -> str:
    """What a training of so many steps needs."""
    device, precision = accelerator.device.type, accelerator.mixed_precision
    shares = config.num_micro_batches * accelerator.num_processes
    cost = training_cost(config, images.labels, images.images.shape[-1], shares, precision, device != "cpu")
    trial = trial_steps(config, images, accelerator)
    next(trial)  # prepares
    times = first_steps(trial, _SECONDS, _STEPS)
    return (
        f"needs: {cost.parameters / 1e6:.3g} M parameters, {cost.flops / config.batch_size / 1e9:.3g} GFLOP an image, "
        f"{cost.memory / 2**30:.2g} GiB of memory for {config.batch_size // shares} images at a time\n"
        f"time: {median(times):.3g} s a step on this {device} (mixed precision: {precision}; median of {len(times)}), "
        f"{_duration(steps * median(times))} in all, without evaluations"
    )


def _duration(seconds: float) -> str:
    for unit, length in (("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.2g} {unit}"
    return f"{seconds:.2g} s"
