"""Detail: a small network over single pixels that sharpens the image that a network of patches predicts.

    detailed(x_t) = x + 0.1 r((x_t - sqrt(abar) x) / (sqrt(1 - abar) + 0.03), 2 x, layout, outlines, t)

x is what the network of patches predicts from x_t: the image and the layout. The outlines are those of the place map
(`place_map`). r starts as zero. A network of patches has to learn an edge once for every position within a patch;
convolutions over pixels learn it once for all (compare the patch detailer of DiP, arXiv:2511.18822). At high noise,
single pixels tell nothing. So without outlines, the noisier timesteps should get no detail (`Denoiser`'s
`detail_share`). No gradient flows back into the network of patches.

r is a UNet of residual blocks without normalisation. The detail of a pixel depends only on its surroundings, up to some
20 pixels away with two levels. So r can be trained on windows of images, which cost less than whole images. Near the
edge of a window it sees zeros, as it does near the edge of an image.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from diffusers.models.embeddings import TimestepEmbedding, Timesteps
from torch import nn

from lab_ddpm.diffusion.sample_space import SampleSpace

WINDOW = 40  # pixels on a side
_STEP, _SOFTENED, _CONTRAST = 0.1, 0.03, 2.0  # they scale the input and the output to a size of about 1
_FREQUENCIES, _EMBEDDING = 64, 128  # of the timestep: its waves, and what the blocks get


class Detailer(nn.Module):
    """Adds detail to predicted clean samples.

    Args:
        space: The space of the samples.
        channels: Channels of each level of r. Each level has half the resolution of the one before.
        num_timesteps: The timesteps below this one get detail.

    Raises:
        UserError: The sides of the images cannot be halved at every level.
    """

    def __init__(self, space: SampleSpace, channels: Sequence[int], num_timesteps: int) -> None:
        super().__init__()
        space.check_sides(2 ** (len(channels) - 1), "2 for each level of `detail_channels` after the first")
        self.space, self.num_timesteps = space, num_timesteps
        # windows hold whole patches, and can be halved at every level
        self._unit = math.lcm(space.patch_size, 2 ** (len(channels) - 1))
        self.time_waves = Timesteps(_FREQUENCIES, flip_sin_to_cos=True, downscale_freq_shift=0)
        self.time_embedding = TimestepEmbedding(_FREQUENCIES, _EMBEDDING)
        num_seen = 2 * space.in_channels + space.layout_channels + space.has_layout
        self.conv_in = nn.Conv2d(num_seen, channels[0], 3, padding=1)
        self.level = _Level(channels)
        self.conv_out = nn.Conv2d(channels[0], space.in_channels, 3, padding=1)
        for parameter in self.conv_out.parameters():
            nn.init.zeros_(parameter)

    def forward(
        self,
        prediction: torch.Tensor,
        noisy: torch.Tensor,
        timesteps: torch.Tensor,
        alpha_bar: torch.Tensor,
        place_map: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """The detailed samples, or windows of them.

        Args:
            prediction: (B, *space.shape) float32, the clean samples that the network of patches predicts.
            noisy: (B, *space.shape) samples x_t.
            timesteps: (B,) or scalar.
            alpha_bar: abar at the timesteps, (B, 1, 1, 1) or scalar.
            place_map: (B, place_map_channels, H / p, W / p); None for samples without a layout.

        Returns:
            float32 of the shape of `prediction`, with its layout.
        """
        dtype = self.conv_in.weight.dtype
        images = self.space.decode(prediction)
        missing = self.space.decode(noisy) - alpha_bar.sqrt() * images
        seen = [missing / ((1 - alpha_bar).sqrt() + _SOFTENED), _CONTRAST * images]
        layout = None
        if place_map is not None:
            layout = self.space.layout(prediction)
            seen.append(F.interpolate(layout, scale_factor=float(self.space.patch_size)))
            outlines = place_map[:, self.space.layout_channels :][:, : self.space.patch_size**2]
            seen.append(F.pixel_shuffle(outlines, self.space.patch_size))
        embedding = F.silu(self.time_embedding(self.time_waves(timesteps.reshape(-1)).to(dtype)))
        hidden = self.level(self.conv_in(torch.cat(seen, dim=1).to(dtype)), embedding)
        detail = self.conv_out(F.silu(hidden)).float()
        return self.space.encode(images + _STEP * detail, layout)

    def sharpen(
        self,
        prediction: torch.Tensor,
        noisy: torch.Tensor,
        timesteps: torch.Tensor,
        alpha_bar: torch.Tensor,
        place_map: torch.Tensor | None,
        gets_detail: torch.Tensor,
    ) -> torch.Tensor:
        """`forward`, for the samples that get detail: (B,) `alpha_bar` and `gets_detail`, or scalars on the CPU."""
        if gets_detail.ndim == 0:
            return self(prediction, noisy, timesteps, alpha_bar, place_map) if gets_detail else prediction
        detailed = self(prediction, noisy, timesteps, alpha_bar[:, None, None, None], place_map)
        return torch.where(gets_detail[:, None, None, None], detailed, prediction)

    def sharpen_windows(
        self,
        prediction: torch.Tensor,
        noisy: torch.Tensor,
        timesteps: torch.Tensor,
        alpha_bar: torch.Tensor,
        place_map: torch.Tensor | None,
        rows: torch.Tensor,
        uniforms: torch.Tensor,
    ) -> torch.Tensor:
        """`forward` in `windows` of the (K,) rows, without a gradient for the prediction. `alpha_bar` is (B,)."""
        predicted, seen, window_map = (
            None if samples is None else self.windows(samples[rows], uniforms)
            for samples in (prediction.detach(), noisy, place_map)
        )
        return self(predicted, seen, timesteps[rows], alpha_bar[rows, None, None, None], window_map)

    def windows(self, samples: torch.Tensor, uniforms: torch.Tensor) -> torch.Tensor:
        """A window of each sample, in whole patches, with sides as close to `WINDOW` pixels as possible.

        Args:
            samples: (B, C, H, W), with any number of channels.
            uniforms: (B, 2) in [0, 1): where each window lies, from top to bottom and from left to right.

        Returns:
            (B, C, h, w).
        """
        patch, rows = self.space.patch_size, torch.arange(len(samples), device=samples.device)
        sides = [min(max(WINDOW // self._unit, 1) * self._unit // patch, side) for side in samples.shape[2:]]
        corners = [
            (uniform * (side - length + 1)).long()
            for uniform, side, length in zip(uniforms.unbind(dim=1), samples.shape[2:], sides, strict=True)
        ]
        return samples.unfold(2, sides[0], 1).unfold(3, sides[1], 1)[rows, :, corners[0], corners[1]]


class _Level(nn.Module):
    """Two blocks, the coarser levels, and one more block."""

    def __init__(self, channels: Sequence[int]) -> None:
        super().__init__()
        fine, *coarse = channels
        self.blocks = nn.ModuleList(_Block(fine) for _ in range(3))
        self.is_last = not coarse
        if coarse:
            self.down = nn.Conv2d(fine, coarse[0], 2, stride=2)
            self.coarser = _Level(coarse)
            self.up = nn.Conv2d(coarse[0], 4 * fine, 1)

    def forward(self, hidden: torch.Tensor, embedding: torch.Tensor) -> torch.Tensor:
        *before, after = self.blocks
        for block in before:
            hidden = block(hidden, embedding)
        if not self.is_last:
            hidden = hidden + F.pixel_shuffle(self.up(self.coarser(self.down(hidden), embedding)), 2)
        return after(hidden, embedding)


class _Block(nn.Module):
    """A residual block, scaled and shifted by the embedding of the timestep (arXiv:1709.07871)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        self.time_emb_proj = nn.Linear(_EMBEDDING, 2 * channels)
        nn.init.normal_(self.conv2.weight, std=0.1 / math.sqrt(9 * channels))
        for parameter in (self.conv2.bias, *self.time_emb_proj.parameters()):
            if parameter is not None:
                nn.init.zeros_(parameter)

    def forward(self, hidden: torch.Tensor, embedding: torch.Tensor) -> torch.Tensor:
        scale, shift = self.time_emb_proj(embedding)[:, :, None, None].chunk(2, dim=1)
        return hidden + self.conv2(F.silu(self.conv1(F.silu(hidden)) * (1 + scale) + shift))
