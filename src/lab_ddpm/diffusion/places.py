"""Places: where the objects stand; the network gets them before the image is drawn (`place_map`).

So what stands where is known from the first step on, and no image has an object too many. `placer` decides the places,
or a user does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from lab_ddpm.diffusion.sample_space import SampleSpace

RADIUS = 6 / 64  # of a disc, as a share of the image's width; at least a patch, to be seen in a place map


@dataclass(frozen=True)
class Places:
    """Where the objects of B images stand, at most K in each.

    Attributes:
        labels: (B, K) long: 1 + the index of the object's label; 0 where there is no object.
        centers: (B, K, 2) float32: x and y in pixels from the left and from the top.
        outlines: (B, K) long: which of `Outlines` the objects have; None if this is not decided.
    """

    labels: torch.Tensor
    centers: torch.Tensor
    outlines: torch.Tensor | None = None

    def __getitem__(self, rows: Sequence[int] | torch.Tensor) -> Places:
        """The places in some of the images."""
        outlines = None if self.outlines is None else self.outlines[rows]
        return Places(self.labels[rows], self.centers[rows], outlines)

    def to(self, device: torch.device) -> Places:
        """The places on a device."""
        outlines = None if self.outlines is None else self.outlines.to(device)
        return Places(self.labels.to(device), self.centers.to(device), outlines)

    def columns(self, which: torch.Tensor) -> Places:
        """Some of the objects of each image; `which` is (K,) bool."""
        outlines = None if self.outlines is None else self.outlines[:, which]
        return Places(self.labels[:, which], self.centers[:, which], outlines)

    def joined(self, others: Places) -> Places:
        """These objects and others of the same images. The outlines of both must be decided."""
        assert self.outlines is not None
        assert others.outlines is not None
        labels, centers = torch.cat([self.labels, others.labels], 1), torch.cat([self.centers, others.centers], 1)
        return Places(labels, centers, torch.cat([self.outlines, others.outlines], 1))


def places_in(masks: torch.Tensor, space: SampleSpace, most: int | None = None) -> Places:
    """The places in masks: the middle of what is seen of each label.

    Args:
        masks: Masks of any resolution, see `SampleSpace.make_layout`.
        space: The samples of the model, in whose pixels the centers are.
        most: No mask may show more labels; None means all of them. (To count them would make a GPU wait.)
    """
    pixels, device = masks.flatten(1).long(), masks.device
    y, x = torch.meshgrid(*(torch.arange(side, device=device) for side in masks.shape[2:]), indexing="ij")
    sums = torch.zeros(3, len(masks), space.num_labels + 1, device=device)
    for values, total in zip((torch.ones_like(x), x, y), sums, strict=True):
        total.scatter_add_(1, pixels, values.float().reshape(1, -1).expand_as(pixels))
    areas, *moments = sums[:, :, 1:]
    centers = torch.stack(moments, dim=2) / areas.clamp(min=1)[..., None] + 0.5
    centers *= space.sample_size[1] / masks.shape[3]
    is_seen = (areas > 0).long()
    which = is_seen.argsort(dim=1, descending=True, stable=True)[:, :most]
    return Places((which + 1) * is_seen.gather(1, which), centers.gather(1, which[..., None].expand(-1, -1, 2)))


def disc_masks(places: Places, size: tuple[int, int], radius: float) -> torch.Tensor:
    """(B, 1, H, W) long masks of discs of a radius in pixels; where two overlap, the nearer center counts."""
    (height, width), device = size, places.centers.device
    x, y = torch.arange(width, device=device) + 0.5, torch.arange(height, device=device)[:, None] + 0.5
    center_x, center_y = places.centers[..., None, None].unbind(dim=2)
    distances = (x - center_x) ** 2 + (y - center_y) ** 2
    distances = distances.masked_fill((places.labels == 0)[..., None, None], torch.inf)
    nearest, which = distances.min(dim=1)
    return label_masks(places, which, nearest <= radius**2)


def num_in_front(places: Places) -> torch.Tensor:
    """(B, K) long: how many objects are in front of each one. These stand lower, or as low and further to the right."""
    x, y = places.centers.unbind(dim=2)
    is_shown = places.labels > 0
    order = [(of[:, None] - of[..., None]).sign() for of in (y, x, places.labels)]  # the labels only break ties
    is_in_front = (4 * order[0] + 2 * order[1] + order[2] > 0) & is_shown[:, None]
    return is_in_front.sum(dim=2)


def label_masks(places: Places, which: torch.Tensor, is_shown: torch.Tensor) -> torch.Tensor:
    """(B, 1, H, W) long masks from (B, H, W) numbers of places and (B, H, W) bool: whether one is shown there."""
    labels = places.labels.gather(1, which.flatten(1)).reshape(which.shape)
    return (labels * is_shown)[:, None]


def disc_radius(space: SampleSpace) -> float:
    """The radius of an object's disc, in pixels."""
    return max(RADIUS * space.sample_size[1], space.patch_size)
