"""Fine-tuning: a run that begins with the weights of a pipeline (`init_from`)."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from lab_ddpm.diffusion.denoiser import Denoiser
from lab_ddpm.generation.checkpoint import load_pipeline
from lab_ddpm.tools.errors import DataError, UserError

# What weights are made for: the network, its samples, their noise, and what is predicted of them; as a denoiser has
# it, and where it is set.
_MODEL = (
    *("block_out_channels", "layers_per_block", "attention_levels", "attention_head_dim", "resnet_time_scale_shift"),
    *("norm_num_groups", "patch_size"),
)
_DIFFUSION = ("num_train_timesteps", "beta_schedule", "prediction_type")
_SETTINGS = {
    **{key: f"model.{key}" for key in _MODEL},
    **{key: f"diffusion.{key}" for key in _DIFFUSION},
    "in_channels": "in_channels",  # of the images
}
_EMBEDDING = "label_embedding.weight"


@torch.no_grad()
def take_weights(denoiser: Denoiser, pipeline: str | Path) -> None:
    """Give a denoiser the weights of a pipeline's.

    Where their labels are not the same, those that both know keep their embedding, and the embeddings of others stay as
    they were. So do the ends of the networks that are a layout's, unless both have one of the same labels and scale,
    and a detailer where the pipeline has none. A pipeline's own is not left away: its network was judged with it.

    Args:
        denoiser: What is to be trained, of the same network for the same noise; the images may have another size.
        pipeline: Its folder.

    Raises:
        UserError: Another network, or other noise; the setting is named.
        DataError: There is no such pipeline, or a broken one.
    """
    source = load_source(pipeline, denoiser.config)
    same_layout = denoiser.space == dataclasses.replace(source.space, sample_size=denoiser.space.sample_size)
    same_layout &= denoiser.labels == source.labels
    colours = denoiser.space.in_channels
    channels = colours * denoiser.space.patch_size**2
    # of the weights at the ends of the networks: the dimension that runs over channels, and how many are of images
    ends = {
        "unet.conv_in.weight": (1, channels),
        "unet.conv_out.weight": (0, channels),
        "unet.conv_out.bias": (0, channels),
        "detailer.conv_in.weight": (1, 2 * colours),
    }
    weights = denoiser.state_dict()
    for key, value in source.state_dict().items():
        if key == _EMBEDDING:
            for label in set(denoiser.labels) & set(source.labels):
                weights[key][:, denoiser.labels.index(label)] = value[:, source.labels.index(label)]
        elif key in ends and not same_layout:
            dimension, count = ends[key]
            target, given = (tensor.narrow(dimension, 0, count) for tensor in (weights[key], value))
            target.copy_(given)
        elif key in weights:
            weights[key].copy_(value)


def load_source(pipeline: str | Path, settings: Mapping[str, Any]) -> Denoiser:
    """The denoiser of a pipeline whose weights one of these settings can take.

    Raises:
        UserError: It is of another network, or for other noise.
        DataError: There is no such pipeline, or a broken one.
    """
    try:
        source: Denoiser = load_pipeline(pipeline).denoiser
    except DataError as error:
        raise DataError(f"`init_from`: {error}") from None
    detail = {"detail_channels": "model.detail_channels"} if source.config["detail_channels"] else {}
    for key, flag in {**_SETTINGS, **detail}.items():
        found, own = _plain(source.config[key]), _plain(settings[key])
        if found != own:
            raise UserError(f"`{flag}` must be {found!r} to begin with the weights of {pipeline}, got {own!r}")
    return source


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, (list, tuple)) else value
