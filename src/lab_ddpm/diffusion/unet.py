"""The architecture: a diffusers `UNet2DModel` that takes a label embedding as well as the time embedding."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

from diffusers import UNet2DModel

from lab_ddpm.diffusion.sample_space import SampleSpace
from lab_ddpm.tools.errors import UserError, check_at_least, check_choice, first_line

_PARAMETERS = inspect.signature(UNet2DModel.__init__).parameters.values()
UNET_DEFAULTS = {parameter.name: parameter.default for parameter in _PARAMETERS if parameter.name != "self"}


def make_unet(
    space: SampleSpace,
    place_map_channels: int,
    takes_embedding: bool,
    block_out_channels: Sequence[int],
    attention_levels: Sequence[int],
    unet_options: Mapping[str, Any],
    **numbers: Any,
) -> UNet2DModel:
    """The UNet of a denoiser, with random weights.

    Args:
        space: The samples that it denoises.
        place_map_channels: Channels of its input beside the samples.
        takes_embedding: Whether a (B, 4 * block_out_channels[0]) embedding is added to that of the time.
        block_out_channels, attention_levels, unet_options: See `denoiser.Denoiser`.
        **numbers: `layers_per_block`, `attention_head_dim`, `resnet_time_scale_shift` and `norm_num_groups`.

    Raises:
        UserError: Numbers that do not fit each other, or unknown options.
    """
    check_at_least("number of block_out_channels", len(block_out_channels), 1)
    levels, groups, head_dim = range(len(block_out_channels)), numbers["norm_num_groups"], numbers["attention_head_dim"]
    check_at_least("layers_per_block", numbers["layers_per_block"], 1)
    check_at_least("attention_head_dim", head_dim, 1)
    check_at_least("norm_num_groups", groups, 1)
    for channels in block_out_channels:
        if channels < 1 or channels % groups:
            raise UserError(f"`block_out_channels` must be multiples of `norm_num_groups`, got {channels} and {groups}")
    for level in attention_levels:
        check_choice("attention_levels", level, levels)
    # behind the last level stands the middle block, which attends too
    narrowest = min(block_out_channels[level] for level in (*attention_levels, -1))
    if head_dim > narrowest:
        raise UserError(
            "`attention_head_dim` must be at most the channels of the last level and of those that attend, "
            f"got {head_dim} and {narrowest}"
        )
    unit = space.patch_size * 2 ** (len(block_out_channels) - 1)
    space.check_sides(unit, "`patch_size` times 2 for each level after the first")
    down = ["AttnDownBlock2D" if level in attention_levels else "DownBlock2D" for level in levels]
    up = ["AttnUpBlock2D" if level in attention_levels else "UpBlock2D" for level in reversed(levels)]
    channels, *size = space.shape
    arguments: dict[str, Any] = {
        **numbers,
        "sample_size": tuple(size),
        "in_channels": channels + place_map_channels,
        "out_channels": channels,
        "down_block_types": tuple(down),
        "up_block_types": tuple(up),
        "block_out_channels": tuple(block_out_channels),
        "class_embed_type": "identity" if takes_embedding else None,
    }
    for name in unet_options:
        check_choice("unet_options", name, sorted(UNET_DEFAULTS.keys() - arguments.keys()))
    try:
        return UNet2DModel(**arguments, **unet_options)
    except (AttributeError, TypeError, ValueError) as error:
        if not unet_options:
            raise
        raise UserError(f"`unet_options` must be values that UNet2DModel takes: {first_line(error)}") from None
