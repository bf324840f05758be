"""Images whose best network is known: every patch is grey ground, "dark" (-0.8) or "bright" (0.8), alike likely.

Where it is told, it is what it is told. Else it follows by Bayes' rule, mostly from the layout, which is scaled up;
where that is unknown, from the pixels alone.
"""

from __future__ import annotations

from typing import Any

import torch
from diffusers.configuration_utils import register_to_config

from lab_ddpm.diffusion.denoiser import Denoiser
from lab_ddpm.diffusion.layout import make_layout, read_layout

LABELS = ("dark", "bright")
VALUES = torch.tensor([0.0, -0.8, 0.8])  # of nothing and of the two


class PaintingOracle(Denoiser):
    """The best network for painted layouts: the mean of what a patch may be."""

    @register_to_config
    def __init__(self, layout_dropout: float = 0.1) -> None:
        small: dict[str, Any] = {"block_out_channels": (32,), "layers_per_block": 1, "attention_levels": ()}
        small |= {"sample_size": 32, "patch_size": 4, "labels": LABELS, "condition_dropout": 0.1, "layout_scale": 16.0}
        super().__init__(prediction_type="sample", layout_dropout=layout_dropout, places_dropout=0.1, **small)

    def predict_without_detail(
        self,
        noisy: torch.Tensor,
        timesteps: torch.Tensor,
        class_labels: torch.Tensor,
        place_map: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """As in `Denoiser`."""
        if place_map is not None and place_map.any():
            told = read_layout(place_map[:, : self.space.layout_channels], 2)
            return self.space.encode(paint(told), make_layout(told, 2, 1))
        masks = torch.arange(3)[:, None, None, None].expand(3, 1, *self.space.shape[1:])
        patches = self.space.encode(paint(masks), make_layout(masks, 2, 1))[None]  # (1, 3, channels, h, w)
        alpha_bar = self.alpha_bar(timesteps)
        squares = (noisy[:, None] - alpha_bar.sqrt() * patches) ** 2
        if not self.space.layout(noisy).any():
            squares = squares[:, :, : self.space.in_channels * self.space.patch_size**2]
        likely = torch.softmax(-squares.sum(dim=2, keepdim=True) / (2 * (1 - alpha_bar)), dim=1)
        return (likely * patches).sum(dim=1)


def paint(masks: torch.Tensor) -> torch.Tensor:
    """(B, 1, 8, 8) masks -> (B, 3, 32, 32) images."""
    return VALUES[masks].repeat_interleave(4, dim=2).repeat_interleave(4, dim=3).repeat(1, 3, 1, 1)
