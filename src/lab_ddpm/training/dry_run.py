"""`train --dry_run`: check the settings and the images, say what was found and what it needs, and keep nothing."""

from __future__ import annotations

from pathlib import Path
from statistics import median

import numpy as np
import torch
from accelerate import Accelerator

from lab_ddpm.data.batches import check_batch_size
from lab_ddpm.data.iclevr import OBJECTS
from lab_ddpm.data.image_cache import ImageDataset
from lab_ddpm.data.images import height_width
from lab_ddpm.data.labelled_images import has_images
from lab_ddpm.data.summary import summarize
from lab_ddpm.training.accelerator import make_accelerator
from lab_ddpm.training.config import TrainConfig
from lab_ddpm.training.cost import training_cost
from lab_ddpm.training.processes import main_process_first
from lab_ddpm.training.stream import open_images
from lab_ddpm.training.trial import fitting_parts, trial_steps

_STEPS, _SECONDS = 20, 30.0  # measured at most, after a first step


def dry_run(config: TrainConfig) -> str:
    """What a training would start with, and what it needs on this machine. The folder of the run is not looked at.

    All processes call it.

    Raises:
        UserError, DataError: About the images, as for `loop.train`.
    """
    accelerator = make_accelerator(config)
    with main_process_first(accelerator):
        found, images, count = _find_images(config)
    if config.gradient_accumulation_steps != "auto":
        check_batch_size(config.batch_size // config.num_parts, count)
    steps = config.epochs * -(-count // config.batch_size)
    plan = f"{steps:,} steps in {config.epochs} epochs; fewer than a few thousand are rarely enough"
    return f"{found}\ndry run, nothing was trained: {plan}\n{_needs(config, images, steps, accelerator)}"


def _find_images(config: TrainConfig) -> tuple[str, ImageDataset, int]:
    """What is said about the images; images to try a step with; and how many there will be."""
    data = config.data
    if data.dataset == "iclevr" and not has_images(data.root):
        found = f"{data.root} has no images: a replica of {data.num_scenes:,} scenes would be rendered"
        return found, _stand_ins(config), 3 * data.num_scenes
    # a training finds the masks of i-CLEVR itself
    needs_masks = config.model["layout_scale"] > 0
    lacks_masks = needs_masks and data.dataset == "iclevr" and not (Path(data.root) / "masks").is_dir()
    images = open_images(config, with_masks=not lacks_masks)
    return summarize(images, data.root), _stand_ins(config) if lacks_masks else images, len(images)


def _stand_ins(config: TrainConfig) -> ImageDataset:
    """Black images in place of those of i-CLEVR, each with the first object in its corner."""
    count, size, labels = config.batch_size, height_width(config.data.image_size), OBJECTS * config.data.conditional
    masks = np.zeros((count, *size, 1), np.uint8)
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
    parts = config.num_parts
    if config.gradient_accumulation_steps == "auto":
        parts = fitting_parts(config, images, accelerator)
    on_gpu, channels = accelerator.device.type != "cpu", images.images.shape[-1]
    shares = parts * accelerator.num_processes
    cost = training_cost(config, images.labels, channels, shares, accelerator.mixed_precision, on_gpu)
    times: list[float] = []
    for seconds in trial_steps(config, images, accelerator, parts):
        times.append(seconds)
        if len(times) > _STEPS or sum(times[1:]) > _SECONDS:
            break
    measured = times[1:]  # the first one prepares
    return (
        f"needs: {cost.parameters / 1e6:.1f} M parameters, {cost.flops / config.batch_size / 1e9:.1f} GFLOP an image, "
        f"{cost.memory / 2**30:.1f} GiB of memory for {config.batch_size // shares} images at a time\n"
        f"time: {median(measured):.3g} s a step on this {accelerator.device.type} "
        f"(mixed precision: {accelerator.mixed_precision}; median of {len(measured)}), "
        f"{steps * median(measured) / 3600:.2g} hours in all, without evaluations"
    )
