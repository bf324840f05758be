"""The untrained denoiser of a config, what it learns from its images at once, and the check that its settings fit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import numpy as np
import torch
from accelerate.utils import set_seed

from lab_ddpm.data.image_dataset import ImageDataset
from lab_ddpm.data.images import to_tensor
from lab_ddpm.diffusion.denoiser import Denoiser
from lab_ddpm.diffusion.loss import DenoisingLoss
from lab_ddpm.diffusion.sampling import Sampling, sampling_timesteps
from lab_ddpm.training.accelerator import check_machine
from lab_ddpm.training.config import TrainConfig

# images that decide what outlines and clusters are; images at once
_OUTLINE_IMAGES, _CLUSTER_IMAGES, _CHUNK = 4096, 65_536, 1024


def seeded_denoiser(config: TrainConfig, dataset: ImageDataset) -> Denoiser:
    """The model with which a training on a data set starts. The same seed always gives the same weights."""
    set_seed(config.seed)
    denoiser = build_denoiser(config, dataset.labels, dataset.images.shape[-1])
    if config.channels_last:
        denoiser.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    if config.compile:
        for network in filter(None, (denoiser.unet, denoiser.placer, denoiser.detailer)):
            network.compile()  # in place: the names of the weights stay the same
    return denoiser


def fit_outlines_and_clusters(denoiser: Denoiser, dataset: ImageDataset) -> None:
    """Learn from a data set what is not trained. The result is not random."""
    order = np.random.default_rng(0).permutation(len(dataset))
    if denoiser.placer is not None and dataset.masks is not None:
        masks = torch.from_numpy(dataset.masks[order[:_OUTLINE_IMAGES]])
        denoiser.placer.outlines.fit(masks.movedim(-1, 1))
    if denoiser.clusters is not None:
        some = order[:_CLUSTER_IMAGES]
        chunks = np.array_split(some, -(-len(some) // _CHUNK))
        denoiser.clusters.fit(to_tensor(dataset.images[rows]) for rows in chunks)


def build_denoiser(config: TrainConfig, labels: Sequence[str], in_channels: int) -> Denoiser:
    """The model for images with these labels and so many channels, with random weights."""
    given = {"labels": labels, "sample_size": config.data.image_size, "in_channels": in_channels}
    return cast(Denoiser, Denoiser.from_config({**config.model, **given}))


def check_settings(config: TrainConfig) -> None:
    """Check the settings by building the model on PyTorch's "meta" device, which needs no memory and no images.

    Raises:
        UserError: A setting that is out of range, or does not fit the others or this machine. It is named.
    """
    check_machine(config)
    labels = ["label"] if config.data.conditional else []  # the real ones are in files, which are not read yet
    with config.naming_settings():
        loss = DenoisingLoss(**config.loss)
        with torch.device("meta"):
            denoiser = build_denoiser(config, labels, in_channels=3)
        loss.check_fits(denoiser)
        sampling_timesteps(Sampling(**config.sampling), denoiser)
