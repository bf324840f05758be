"""What is noised and denoised: an image in patches and, for some models, a layout.

Pixel-unshuffle (arXiv:1609.05158) folds p x p pixels into channels. This makes the UNet p^2 times cheaper, for machines
without a GPU.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F

from lab_ddpm.diffusion.layout import make_layout, num_layout_channels, read_layout
from lab_ddpm.tools.errors import UserError


@dataclass(frozen=True)
class SampleSpace:
    """The samples of a model.

    Attributes:
        sample_size: Height and width of the images in pixels.
        in_channels: C, the channels of the images.
        patch_size: p; 1 for single pixels.
        num_labels: The number of labels in the model's vocabulary.
        layout_scale: Factor of the layout; 0 for samples without one.
    """

    sample_size: tuple[int, int]
    in_channels: int
    patch_size: int
    num_labels: int
    layout_scale: float

    @property
    def has_layout(self) -> bool:
        """Whether samples have a layout."""
        return bool(self.layout_scale)

    @property
    def layout_channels(self) -> int:
        """The number of layout channels in a sample; 0 without a layout."""
        return num_layout_channels(self.num_labels) if self.has_layout else 0

    @property
    def shape(self) -> tuple[int, int, int]:
        """The shape of one sample: (C p^2 + channels of the layout, H / p, W / p)."""
        height, width = (side // self.patch_size for side in self.sample_size)
        return self.in_channels * self.patch_size**2 + self.layout_channels, height, width

    def check_sides(self, unit: int, why: str) -> None:
        """Raise `UserError` unless the sides of the images are multiples of `unit`; `why` says what it consists of."""
        for side in self.sample_size:
            if side < 1 or side % unit:
                raise UserError(f"`sample_size` must be a multiple of {unit} for this model ({why}), got {side}")

    def encode(self, images: torch.Tensor, layout: torch.Tensor | None = None) -> torch.Tensor:
        """Turn images and layouts into clean samples.

        Args:
            images: (B, C, H, W) in [-1, 1].
            layout: As `make_layout` returns it; None for an unknown layout, or for samples without one.

        Returns:
            (B, *shape).
        """
        patches = F.pixel_unshuffle(images, self.patch_size)
        if layout is None:
            _, *size = self.shape
            layout = patches.new_zeros(len(images), self.layout_channels, *size)
        return _joined(patches, self.layout_scale * layout)

    def parts(self, sample: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Views of (B, *shape) samples: the C p^2 channels of the image, and the channels of the layout."""
        channels = self.in_channels * self.patch_size**2
        return sample[:, :channels], sample[:, channels:]

    def decode(self, sample: torch.Tensor) -> torch.Tensor:
        """The (B, C, H, W) images in (B, *shape) samples."""
        return F.pixel_shuffle(self.parts(sample)[0], self.patch_size)

    def make_layout(self, masks: torch.Tensor) -> torch.Tensor | None:
        """The layouts of masks, see `layout.make_layout`; None for samples without a layout.

        The (B, 1, any, any) masks have the proportions of the images, and whole pixels in each patch.
        """
        if not self.has_layout:
            return None
        return make_layout(masks, self.num_labels, masks.shape[3] * self.patch_size // self.sample_size[1])

    def layout(self, sample: torch.Tensor) -> torch.Tensor:
        """The layouts in samples, as `make_layout` returns them."""
        return self.parts(sample)[1] / self.layout_scale

    def masks(self, sample: torch.Tensor) -> torch.Tensor:
        """The masks that the layouts in samples show, one value per patch: (B, 1, H / p, W / p), see `read_layout`."""
        return read_layout(self.layout(sample), self.num_labels)

    def without_layout(self, sample: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        """The (B, *shape) samples, with an unknown layout in those for which the (B,) `rows` are true."""
        image, layout = self.parts(sample)
        return _joined(image, layout * ~rows[:, None, None, None])

    def clip(self, sample: torch.Tensor) -> torch.Tensor:
        """Clip (B, *shape) samples: images to [-1, 1], layouts to [-layout_scale, layout_scale]."""
        image, layout = self.parts(sample)
        return _joined(image.clamp(-1, 1), layout.clamp(-self.layout_scale, self.layout_scale))

    def draw_noise(self, generators: Sequence[torch.Generator]) -> torch.Tensor:
        """(B, *shape) standard normal noise: one sample from each of B CPU generators.

        The image's noise is drawn first, as (C, H, W), so it does not depend on the patch size or the layout.
        """
        _, *size = self.shape
        samples = []
        for generator in generators:
            image = torch.randn(self.in_channels, *self.sample_size, generator=generator)
            layout = torch.randn(self.layout_channels, *size, generator=generator)
            samples.append(torch.cat([F.pixel_unshuffle(image, self.patch_size), layout]))
        return torch.stack(samples)


def _joined(image: torch.Tensor, layout: torch.Tensor) -> torch.Tensor:
    """Join the two parts of samples; does not copy if there is no layout."""
    return torch.cat([image, layout], dim=1) if layout.shape[1] else image
