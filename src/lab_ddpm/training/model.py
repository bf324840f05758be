"""The untrained denoiser of a config, and the check that its settings fit."""

from __future__ import annotations

import re

import torch
from accelerate.utils import set_seed

from lab_ddpm.data.image_cache import ImageDataset
from lab_ddpm.diffusion.denoiser import Denoiser
from lab_ddpm.diffusion.loss import DenoisingLoss
from lab_ddpm.diffusion.sampling import Sampling
from lab_ddpm.diffusion.schedulers import make_scheduler, set_timesteps
from lab_ddpm.tools.errors import UserError
from lab_ddpm.training.accelerator import check_machine
from lab_ddpm.training.config import TrainConfig


def make_denoiser(config: TrainConfig, dataset: ImageDataset) -> Denoiser:
    """The untrained model for the images and labels of a data set. One seed always gives one model."""
    set_seed(config.seed)
    given = {"labels": dataset.labels, "sample_size": config.data.image_size, "in_channels": dataset.images.shape[-1]}
    return Denoiser.from_config({**config.model, **given})


def check_settings(config: TrainConfig) -> None:
    """Build what the settings describe on PyTorch's "meta" device, which needs no memory and no images.

    Raises:
        UserError: A setting that is out of range, or does not fit the others or this machine. It is named.
    """
    check_machine(config)
    labels = ("label",) if config.data.conditional else ()  # the real ones are in files
    try:
        DenoisingLoss(**config.loss)
        with torch.device("meta"):
            denoiser = Denoiser.from_config({**config.model, "labels": labels, "sample_size": config.data.image_size})
        sampling = Sampling(**config.sampling)
        set_timesteps(make_scheduler(sampling.scheduler, denoiser), sampling.steps, torch.device("cpu"))
    except UserError as error:
        names = {"sample_size": "data.image_size"}
        for section in ("model", "loss", "sampling"):
            names |= {key: f"{section}.{key}" for key in getattr(config, section)}
        message = re.sub(r"`(\w+)`", lambda found: f"`{names.get(found[1], found[1])}`", str(error))
        raise UserError(message) from None
