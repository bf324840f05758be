"""Fine-tuning: a run that starts from the weights of a pipeline (`init_from`)."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from lab_ddpm.data.augmentation import NUM_AUGMENT_LABELS
from lab_ddpm.data.images import COLOUR_MODES
from lab_ddpm.diffusion.denoiser import Denoiser
from lab_ddpm.generation.checkpoint import load_pipeline
from lab_ddpm.tools.errors import DataError, UserError

# The arguments of a denoiser that its weights depend on.
_ARCHITECTURE = (
    "block_out_channels",
    "layers_per_block",
    "attention_levels",
    "attention_head_dim",
    "resnet_time_scale_shift",
    "norm_num_groups",
    "unet_options",
    "patch_size",
    "num_train_timesteps",
    "beta_schedule",
    "prediction_type",
)
_EMBEDDING = "label_embedding.weight"
_OF_IMAGES = "clusters.", "placer.outlines."  # what a denoiser learnt from its own images before it was trained


@torch.no_grad()
def take_weights(denoiser: Denoiser, pipeline: str | Path) -> None:
    """Give a denoiser the weights of a pipeline with the same architecture and noise. The size of images may differ.

    If the labels differ, labels that both know take their embedding from the pipeline, and new ones keep their random
    embedding; so do augmentations, and clusters, which are the same for the same images. The layout's channels and the
    placer also keep their random weights, unless both have a layout of the same labels and scale. So does the detailer,
    if the pipeline has none. A pipeline's detailer is never dropped: its images were made with it.

    Raises:
        UserError, DataError: As for `load_source`.
    """
    source = load_source(pipeline, denoiser.config)
    same_layout = denoiser.space == dataclasses.replace(source.space, sample_size=denoiser.space.sample_size)
    same_layout &= denoiser.labels == source.labels
    same_clusters = False
    if denoiser.clusters is not None and source.clusters is not None:
        own, theirs = denoiser.clusters.means, source.clusters.means
        same_clusters = own.shape == theirs.shape and torch.allclose(own, theirs, atol=1e-2)  # stored in float16
    colours = denoiser.space.in_channels
    channels = colours * denoiser.space.patch_size**2
    # weights that depend on the layout: the dimension that runs over channels, and how many of them are the image's
    ends = {
        "unet.conv_in.weight": (1, channels),
        "unet.conv_out.weight": (0, channels),
        "unet.conv_out.bias": (0, channels),
        "detailer.conv_in.weight": (1, 2 * colours),
    }
    weights = denoiser.state_dict()
    for key, value in source.state_dict().items():
        if key.startswith(_OF_IMAGES):
            continue
        if key == _EMBEDDING:
            for label in set(denoiser.labels) & set(source.labels):
                weights[key][:, denoiser.labels.index(label)] = value[:, source.labels.index(label)]
            if same_clusters:
                weights[key][:, : denoiser.config["num_clusters"]] = value[:, : source.config["num_clusters"]]
            if denoiser.config["augmentation"] and source.config["augmentation"]:
                weights[key][:, -NUM_AUGMENT_LABELS:] = value[:, -NUM_AUGMENT_LABELS:]
        elif key in ends and not same_layout:
            dimension, count = ends[key]
            target, given = (tensor.narrow(dimension, 0, count) for tensor in (weights[key], value))
            target.copy_(given)
        elif key in weights and (same_layout or not key.startswith("placer.")):
            weights[key].copy_(value)


def load_source(pipeline: str | Path, settings: Mapping[str, Any]) -> Denoiser:
    """The denoiser of a pipeline, if a model with these arguments can take its weights.

    Raises:
        UserError: Another architecture or other noise. The setting is named.
        DataError: There is no such pipeline, or it is broken.
    """
    try:
        source: Denoiser = load_pipeline(pipeline).denoiser
    except DataError as error:
        raise DataError(f"`init_from`: {error}") from None
    channels, own_channels = source.config["in_channels"], settings["in_channels"]
    if channels != own_channels:
        makes, given = COLOUR_MODES[channels], COLOUR_MODES[own_channels]
        raise UserError(f"`init_from`: {pipeline} makes {makes} images, but these are {given}")
    for key in (*_ARCHITECTURE, *["detail_channels"] * (source.detailer is not None)):
        found, own = (
            list(value) if isinstance(value, tuple) else value for value in (source.config[key], settings[key])
        )
        if found != own:
            raise UserError(f"`model.{key}` must be {found!r} to start from the weights of {pipeline}, got {own!r}")
    return source
