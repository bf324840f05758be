"""The images of a run, and its batches, as `data.batches` makes them."""

from __future__ import annotations

import math
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from torch.utils.data import DataLoader

from lab_ddpm.data.batches import BatchMaker, StreamDataset, StreamSampler, fits_on
from lab_ddpm.data.image_dataset import ImageDataset
from lab_ddpm.data.open_dataset import open_training_images
from lab_ddpm.data.summary import summarize
from lab_ddpm.diffusion.denoiser import Denoiser
from lab_ddpm.tools.errors import DataError
from lab_ddpm.tools.interruption import ignore_stop_signals
from lab_ddpm.training.config import TrainConfig
from lab_ddpm.training.processes import main_process_first


def open_images(config: TrainConfig, accelerator: Accelerator) -> ImageDataset:
    """The training images, and a line about them on the screen. All processes call it.

    Raises:
        UserError, DataError: As for `open_training_images`, or the processes have different images.
    """
    data = config.data
    # the main process decodes the images; the others then read them
    with main_process_first(accelerator), config.naming_settings():
        images = open_training_images(
            data.dataset,
            data.root,
            data.image_size,
            data.conditional,
            with_masks=config.model["layout_scale"] > 0,
            **data.hub_options,
        )
    accelerator.print(summarize(images, data.root))
    if len(set(gather_object([images.fingerprint()]))) > 1:
        raise DataError("`data.root` must hold the same images and labels on all machines")
    return images


def count_steps(config: TrainConfig, num_images: int) -> tuple[int, int]:
    """The optimizer steps of an epoch and of the whole run, on so many images."""
    steps_per_epoch = math.ceil(num_images / config.batch_size)
    return steps_per_epoch, config.epochs * steps_per_epoch


def open_stream(
    config: TrainConfig,
    images: ImageDataset,
    denoiser: Denoiser,
    device: torch.device,
    steps: range,
    num_processes: int = 1,
) -> tuple[DataLoader[Any], BatchMaker]:
    """What loads the samples of some steps, and what makes a micro-batch of them on a device.

    A process that tries a step alone divides the micro-batch by `num_processes`, as it would in the launch.

    Raises:
        UserError: There are fewer images than a micro-batch has.
    """
    count = config.num_micro_batches
    size = config.batch_size // count // num_processes
    order = StreamSampler(len(images), size, config.seed, steps.start * count, steps.stop * count)
    is_held = fits_on(device, images)
    loader = DataLoader(
        StreamDataset(images, with_images=not is_held),
        batch_sampler=order,
        num_workers=0 if is_held else config.data.num_workers,
        worker_init_fn=ignore_stop_signals,
        pin_memory=device.type == "cuda",
    )
    make_batch = BatchMaker(
        images,
        config.seed,
        denoiser.space.shape,
        random_flip=config.data.random_flip,
        augmentation=config.model["augmentation"],
        image_device=device if is_held else None,
    )
    return loader, make_batch
