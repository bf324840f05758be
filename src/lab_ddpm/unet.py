"""The label-conditional UNet: a diffusers `UNet2DModel` whose time embedding is shifted by a label embedding.

    emb = time_embedding(t) + label_embedding(c),    label_embedding = Linear(num_labels -> 4 * channels[0])

c is a multi-hot vector, so the embedding of a condition is the sum of the embeddings of its objects; the zero
vector is the null label that classifier-free guidance needs. With `patch_size` p > 1, pixel-unshuffle
(arXiv:1609.05158) folds p x p pixels into channels before the UNet and unfolds them after it, which makes the
network p^2 times cheaper: for machines without a GPU.

The UNet is held, not inherited from: a `class_embedding` that is set on a `UNet2DModel` after its construction is
lost by `from_pretrained`, while this model's `config.json` describes it completely.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from diffusers import ConfigMixin, ModelMixin, UNet2DModel
from diffusers.configuration_utils import register_to_config
from torch import nn


class LabelConditionalUNet(ModelMixin, ConfigMixin):
    """Predicts from a noisy picture, its timestep and its labels (noise, clean picture or v: as it was trained).

    Args:
        labels: The names of the labels in the order of the multi-hot vector; empty for an unconditional model.
        sample_size: Height and width of the pictures in pixels, divisible by `patch_size`.
        in_channels: Channels of the pictures.
        patch_size: Factor of the pixel-unshuffle in front of the UNet; 1 for none.
        block_out_channels: Channels of each resolution level; each level but the last halves the resolution.
        layers_per_block: Residual blocks in each level.
        attention_levels: The levels with self-attention, counted from 0.
        attention_head_dim: Channels of an attention head.
        resnet_time_scale_shift: How the embedding enters a residual block: "default" (added) or "scale_shift".
    """

    @register_to_config
    def __init__(
        self,
        labels: Sequence[str] = (),
        sample_size: int = 64,
        in_channels: int = 3,
        patch_size: int = 1,
        block_out_channels: Sequence[int] = (128, 128, 256, 256, 512, 512),
        layers_per_block: int = 2,
        attention_levels: Sequence[int] = (4,),
        attention_head_dim: int = 8,
        resnet_time_scale_shift: str = "default",
    ) -> None:
        super().__init__()
        levels = range(len(block_out_channels))
        down = ["AttnDownBlock2D" if level in attention_levels else "DownBlock2D" for level in levels]
        up = ["AttnUpBlock2D" if level in attention_levels else "UpBlock2D" for level in reversed(levels)]
        channels = in_channels * patch_size**2
        self.unet = UNet2DModel(
            sample_size=sample_size // patch_size,
            in_channels=channels,
            out_channels=channels,
            down_block_types=tuple(down),
            up_block_types=tuple(up),
            block_out_channels=tuple(block_out_channels),
            layers_per_block=layers_per_block,
            attention_head_dim=attention_head_dim,
            resnet_time_scale_shift=resnet_time_scale_shift,
            class_embed_type="identity" if labels else None,
        )
        self.patchify = nn.PixelUnshuffle(patch_size)
        self.unpatchify = nn.PixelShuffle(patch_size)
        self.label_embedding = nn.Linear(len(labels), 4 * block_out_channels[0]) if labels else None

    def forward(
        self, noisy_images: torch.Tensor, timesteps: torch.Tensor, class_labels: torch.Tensor | None = None
    ) -> torch.Tensor:
        """The prediction for each picture.

        Args:
            noisy_images: (B, C, H, W) noisy pictures, of variance about 1.
            timesteps: (B,) or scalar integer timesteps, 0 (almost clean) to `num_train_timesteps` - 1.
            class_labels: (B, len(labels)) multi-hot, zeros for the null label; None for an unconditional model.

        Returns:
            (B, C, H, W) prediction.
        """
        embedding = None if self.label_embedding is None else self.label_embedding(class_labels)
        hidden = self.unet(self.patchify(noisy_images), timesteps, class_labels=embedding).sample
        return self.unpatchify(hidden)
