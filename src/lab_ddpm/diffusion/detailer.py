"""Detail: a small UNet over single pixels, which goes on from the picture that a network of patches predicts.

    detailed(x_t) = x + 0.1 r((x_t - sqrt(abar) x) / (sqrt(1 - abar) + 0.03), 2 x, layout, t)        for t < 0.4 T

x is the picture, and beside it the layout, that the network of patches predicts from x_t; r begins at zero. A network
of patches has to learn an edge for every place that it can have within a patch, convolutions over pixels learn it once
(compare the patch detailer of DiP, arXiv:2511.18822). The noisier the timestep, the less there is to add: pixels drown
in noise. It is trained behind the network of patches, which takes no notice: no gradient goes back.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import nn

from lab_ddpm.diffusion.network import make_unet
from lab_ddpm.diffusion.sample_space import SampleSpace

DETAILED_SHARE = 0.4  # of the timesteps, the less noisy ones
_STEP, _SOFTENED, _CONTRAST = 0.1, 0.03, 2.0  # they bring what goes in, and what comes out, to a size of about 1
_GROUPS = 8  # of channels that are normalised together


class Detailer(nn.Module):
    """Adds detail to predicted clean samples.

    Args:
        space: The samples.
        channels: Of each level of r, which halves the one before it; multiples of 8.
    """

    def __init__(self, space: SampleSpace, channels: Sequence[int]) -> None:
        super().__init__()
        self.space = space
        self.unet = make_unet(
            size=space.sample_size,
            in_channels=2 * space.in_channels + space.layout_channels,
            out_channels=space.in_channels,
            block_out_channels=channels,
            layers_per_block=1,
            attention_levels=(),
            attention_head_dim=None,
            resnet_time_scale_shift="scale_shift",
            norm_num_groups=_GROUPS,
            takes_embedding=False,
        )
        for parameter in self.unet.conv_out.parameters():
            nn.init.zeros_(parameter)

    def forward(
        self, prediction: torch.Tensor, noisy: torch.Tensor, timesteps: torch.Tensor, alpha_bar: torch.Tensor
    ) -> torch.Tensor:
        """The detailed samples.

        Args:
            prediction: (B, *space.shape) float32, what the network of patches predicts of the clean samples.
            noisy: (B, *space.shape) samples x_t.
            timesteps: (B,) or scalar.
            alpha_bar: Of the timesteps, (B, 1, 1, 1) or scalar.

        Returns:
            float32 of the shape of `prediction`, with its layout.
        """
        pictures = self.space.decode(prediction)
        missing = self.space.decode(noisy) - alpha_bar.sqrt() * pictures
        seen = [missing / ((1 - alpha_bar).sqrt() + _SOFTENED), _CONTRAST * pictures]
        layout = None
        if self.space.has_layout:
            layout = self.space.layout(prediction)
            seen.append(F.interpolate(layout, scale_factor=float(self.space.patch_size)))
        detail = self.unet(torch.cat(seen, dim=1).to(self.unet.dtype), timesteps).sample.float()
        return self.space.encode(pictures + _STEP * detail, layout)
