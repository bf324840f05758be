"""The architecture: a diffusers `UNet2DModel` that takes a label embedding as well as the time embedding."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

from diffusers import UNet2DModel

from lab_ddpm.tools.errors import UserError, check_at_least, check_choice, first_line

_PARAMETERS = inspect.signature(UNet2DModel.__init__).parameters.values()
UNET_DEFAULTS = {parameter.name: parameter.default for parameter in _PARAMETERS if parameter.name != "self"}


def make_unet(
    shape: tuple[int, int, int],
    told_channels: int,
    block_out_channels: Sequence[int],
    layers_per_block: int,
    attention_levels: Sequence[int],
    attention_head_dim: int,
    resnet_time_scale_shift: str,
    norm_num_groups: int,
    takes_embedding: bool,
    unet_options: Mapping[str, Any] | None = None,
) -> UNet2DModel:
    """The UNet of a denoiser, with random weights.

    Args:
        shape: (C, H, W) of its output, and of its input before the channels that tell it something.
        told_channels: The number of those.
        block_out_channels, layers_per_block, attention_levels, attention_head_dim, resnet_time_scale_shift,
            norm_num_groups: See `denoiser.Denoiser`.
        takes_embedding: Whether a (B, 4 * block_out_channels[0]) embedding is added to that of the time.
        unet_options: Further arguments of `UNet2DModel`.

    Raises:
        UserError: Numbers that do not fit each other, or unknown options.
    """
    check_at_least("number of block_out_channels", len(block_out_channels), 1)
    levels = range(len(block_out_channels))
    check_at_least("layers_per_block", layers_per_block, 1)
    check_at_least("attention_head_dim", attention_head_dim, 1)
    check_at_least("norm_num_groups", norm_num_groups, 1)
    check_choice("resnet_time_scale_shift", resnet_time_scale_shift, ("default", "scale_shift"))
    for channels in block_out_channels:
        if channels < 1 or channels % norm_num_groups:
            raise UserError(
                f"`block_out_channels` must be multiples of `norm_num_groups`, got {channels} and {norm_num_groups}"
            )
    for level in attention_levels:
        check_choice("attention_levels", level, levels)
    # behind the last level stands the middle block, which attends too
    narrowest = min(block_out_channels[level] for level in (*attention_levels, -1))
    if attention_head_dim > narrowest:
        raise UserError(
            "`attention_head_dim` must be at most the channels of the last level and of those that attend, "
            f"got {attention_head_dim} and {narrowest}"
        )
    down = ["AttnDownBlock2D" if level in attention_levels else "DownBlock2D" for level in levels]
    up = ["AttnUpBlock2D" if level in attention_levels else "UpBlock2D" for level in reversed(levels)]
    channels, *size = shape
    arguments: dict[str, Any] = {
        "sample_size": tuple(size),
        "in_channels": channels + told_channels,
        "out_channels": channels,
        "down_block_types": tuple(down),
        "up_block_types": tuple(up),
        "block_out_channels": tuple(block_out_channels),
        "layers_per_block": layers_per_block,
        "attention_head_dim": attention_head_dim,
        "resnet_time_scale_shift": resnet_time_scale_shift,
        "norm_num_groups": norm_num_groups,
        "class_embed_type": "identity" if takes_embedding else None,
    }
    for name in unet_options or ():
        check_choice("unet_options", name, sorted(UNET_DEFAULTS.keys() - arguments.keys()))
    try:
        return UNet2DModel(**arguments, **(unet_options or {}))
    except (AttributeError, TypeError, ValueError) as error:
        if not unet_options:
            raise
        raise UserError(f"`unet_options` must be values that UNet2DModel takes: {first_line(error)}") from None
