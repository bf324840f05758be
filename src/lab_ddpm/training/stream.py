"""The images of a run, and its batches, as `data.batches` makes them."""

from __future__ import annotations

from typing import Any

import torch
from torch.utils.data import DataLoader

from lab_ddpm.data.batches import BatchMaker, StreamDataset, StreamSampler, fits_on
from lab_ddpm.data.dataset import open_training_images
from lab_ddpm.data.image_cache import ImageDataset
from lab_ddpm.diffusion.denoiser import Denoiser
from lab_ddpm.tools.interruption import ignore_stop_signals
from lab_ddpm.training.config import TrainConfig


def open_images(config: TrainConfig, with_masks: bool = True) -> ImageDataset:
    """The training images of a run.

    Args:
        config: The settings of the run.
        with_masks: Whether to open the masks too, if the model needs them.

    Raises:
        UserError, DataError: As for `dataset.open_training_images`. Settings are named.
    """
    data = config.data
    with config.naming_settings():
        return open_training_images(
            data.dataset,
            data.root,
            data.image_size,
            data.conditional,
            with_masks=with_masks and config.model["layout_scale"] > 0,
            **data.hub_options,
        )


def open_stream(
    config: TrainConfig,
    images: ImageDataset,
    denoiser: Denoiser,
    device: torch.device,
    batch_size: int,
    first_batch: int,
    last_batch: int,
) -> tuple[DataLoader[Any], BatchMaker]:
    """What loads the samples of the stream, and what makes a batch of them on a device.

    Args:
        config: The settings of the run.
        images: The training images.
        denoiser: The model to train.
        device: Its device.
        batch_size: Samples in a batch, over all processes.
        first_batch, last_batch: Load the batches [first_batch, last_batch) of the stream.

    Raises:
        UserError: There are fewer images than a batch has.
    """
    order = StreamSampler(len(images), batch_size, config.seed, first_batch, last_batch)
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
