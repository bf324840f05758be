"""The architecture: a diffusers `UNet2DModel` that takes the label embedding beside the time embedding."""

from __future__ import annotations

from collections.abc import Sequence

from diffusers import UNet2DModel


def make_unet(
    size: tuple[int, int],
    in_channels: int,
    out_channels: int,
    block_out_channels: Sequence[int],
    layers_per_block: int,
    attention_levels: Sequence[int],
    attention_head_dim: int | None,
    resnet_time_scale_shift: str,
    norm_num_groups: int,
    takes_embedding: bool,
) -> UNet2DModel:
    """The UNet of a denoiser, with random weights.

    Args:
        size: Height and width of its input; each level but the last halves them.
        in_channels, out_channels: Of its input and output.
        block_out_channels: Channels of each resolution level.
        layers_per_block: Residual blocks in each level.
        attention_levels: The levels with self-attention, counted from 0.
        attention_head_dim: Channels of an attention head; None for no attention in the middle block, which has some
            otherwise.
        resnet_time_scale_shift: How the embedding enters a residual block: "default" (added) or "scale_shift".
        norm_num_groups: Groups of channels that are normalised together, over the whole image.
        takes_embedding: Whether a (B, 4 * block_out_channels[0]) embedding is added to that of the time.
    """
    levels = range(len(block_out_channels))
    down = ["AttnDownBlock2D" if level in attention_levels else "DownBlock2D" for level in levels]
    up = ["AttnUpBlock2D" if level in attention_levels else "UpBlock2D" for level in reversed(levels)]
    return UNet2DModel(
        sample_size=size,
        in_channels=in_channels,
        out_channels=out_channels,
        down_block_types=tuple(down),
        up_block_types=tuple(up),
        block_out_channels=tuple(block_out_channels),
        layers_per_block=layers_per_block,
        attention_head_dim=attention_head_dim,
        add_attention=attention_head_dim is not None,
        resnet_time_scale_shift=resnet_time_scale_shift,
        norm_num_groups=norm_num_groups,
        class_embed_type="identity" if takes_embedding else None,
    )
