"""The untrained denoiser of a config."""

from __future__ import annotations

from dataclasses import asdict

from accelerate.utils import set_seed

from lab_ddpm.data.image_cache import ImageDataset
from lab_ddpm.diffusion.denoiser import Denoiser
from lab_ddpm.training.config import TrainConfig


def make_denoiser(config: TrainConfig, dataset: ImageDataset) -> Denoiser:
    """The untrained model of a config, for the images and labels of a data set; one seed always gives one model."""
    network = asdict(config.model)
    del network["conditional"]  # the data set has been opened with labels or without
    set_seed(config.seed)
    return Denoiser(
        labels=dataset.labels,
        sample_size=config.data.image_size,
        in_channels=dataset.images.shape[-1],
        **network,
        **asdict(config.diffusion),
        **asdict(config.objective),
    )
