"""The placer: it decides where the objects stand, one after the other.

    p(places | labels) = prod_i p(place_i | place_1, ..., place_{i-1}, label_i)          in any order of the objects

A small convolutional network sees discs of the objects that stand. It is conditioned on the next label, on how
many objects stand, and on how many there will be. It gives a probability for each cell of a grid, and for "nowhere in
particular", since masks do not show every label. Objects that are put down one by one cannot be miscounted. It computes
on patches of cells, as the UNet does on patches of pixels. The outlines of the objects are decided after their places
(`outlines`).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import nn

from lab_ddpm.data.random_numbers import FOR_PLACES, image_uniforms
from lab_ddpm.diffusion.float32 import Float32Module
from lab_ddpm.diffusion.layout import make_layout, num_layout_channels
from lab_ddpm.diffusion.outlines import Outlines
from lab_ddpm.diffusion.places import RADIUS, Places, disc_masks
from lab_ddpm.diffusion.sample_space import SampleSpace

GRID = 64  # cells on a side
_PATCH = 2  # cells on a side
_CHANNELS, _DILATIONS = 32, (1, 2, 4, 8, 2, 1)  # together they see the whole grid


class Placer(Float32Module):
    """The probability of the next place.

    Args:
        space: The samples of the model.

    Attributes:
        outlines: The outlines of the objects, which are decided after their places.
    """

    most: torch.Tensor
    cells_per_pixel: torch.Tensor

    def __init__(self, space: SampleSpace) -> None:
        super().__init__()
        height, width = space.sample_size
        self.num_labels = space.num_labels
        self.conv_in = nn.Conv2d(num_layout_channels(space.num_labels) + 2, _CHANNELS, 3, padding=1)
        self.condition_proj = nn.Linear(space.num_labels + 2, len(_DILATIONS) * _CHANNELS)
        self.blocks = nn.ModuleList(
            nn.Conv2d(_CHANNELS, _CHANNELS, 3, padding=dilation, dilation=dilation) for dilation in _DILATIONS
        )
        self.conv_out = nn.Conv2d(_CHANNELS, _PATCH**2, 1)
        self.nowhere = nn.Linear(_CHANNELS, 1)
        self.register_buffer("cells_per_pixel", torch.tensor([GRID / width, GRID / height]), persistent=False)
        self.outlines = Outlines(space)
        # the most objects that it has seen together; larger numbers are clamped to it
        self.register_buffer("most", torch.tensor(1.0))

    def forward(self, places: Places, labels: torch.Tensor, totals: torch.Tensor) -> torch.Tensor:
        """Logits of the next place.

        Args:
            places: The objects that stand in B images.
            labels: (B,) long: 1 + the index of the next label.
            totals: (B,) how many objects there will be.

        Returns:
            (B, GRID^2 + 1) float32: of the cells, row by row, and of no place in particular.
        """
        on_grid = Places(places.labels, places.centers * self.cells_per_pixel)
        seen = make_layout(disc_masks(on_grid, (GRID, GRID), RADIUS * GRID), self.num_labels, _PATCH)
        axis = torch.linspace(-1, 1, GRID // _PATCH, device=seen.device)
        where = torch.stack(torch.meshgrid(axis, axis, indexing="ij")).expand(len(seen), -1, -1, -1)
        totals = torch.minimum(totals.float(), self.most)
        standing = torch.minimum((places.labels > 0).sum(dim=1).float(), totals - 1)
        one_hot = (labels[:, None] == torch.arange(1, self.num_labels + 1, device=labels.device)).float()
        shifts = self.condition_proj(torch.cat([one_hot, torch.stack([standing, totals], dim=1) / 4], dim=1))
        hidden = self.conv_in(torch.cat([seen, where], dim=1))
        for block, shift in zip(self.blocks, shifts[..., None, None].chunk(len(_DILATIONS), dim=1), strict=True):
            hidden = hidden + block(F.silu(hidden + shift))
        cells = F.pixel_shuffle(self.conv_out(F.silu(hidden)), _PATCH)
        return torch.cat([cells.flatten(1), self.nowhere(hidden.mean(dim=(2, 3)))], dim=1).float()

    def loss(self, class_labels: torch.Tensor, places: Places, uniforms: torch.Tensor) -> torch.Tensor:
        """The cross-entropy of one object's place in each image, after some of the others.

        Args:
            class_labels: (B, num_labels) multi-hot, with a label or more in each row.
            places: Of the labels that have a place.
            uniforms: (B, num_labels + 1) in [0, 1): the order of the objects, and how many stand.

        Returns:
            (B,) nats.
        """
        totals = class_labels.sum(dim=1)
        self.most.copy_(torch.cat([self.most[None], totals]).max())
        order = _random_order(class_labels, uniforms[:, :-1])
        step = (uniforms[:, -1] * totals).long()
        labels = order.gather(1, step[:, None])[:, 0] + 1
        rank = F.pad(order.argsort(dim=1), (1, 0))  # of each label; of no label it does not matter
        stands = rank.gather(1, places.labels) < step[:, None]
        is_next = places.labels == labels[:, None]
        column, row = ((places.centers * is_next[..., None]).sum(dim=1) * self.cells_per_pixel).long().unbind(dim=1)
        target = torch.where(is_next.any(dim=1), row * GRID + column, GRID**2)
        logits = self(Places(places.labels * stands, places.centers), labels, totals)
        return F.cross_entropy(logits, target, reduction="none")

    @torch.no_grad()
    def draw(self, class_labels: torch.Tensor, seeds: Sequence[int]) -> Places:
        """Places for the labels of (B, num_labels) rows above 0. Those of an image depend on its row and seed."""
        totals = (class_labels > 0).sum(dim=1)
        count, device = max(int(totals.max()), 1), class_labels.device
        size = 4 * self.num_labels  # the same for any batch
        uniforms = image_uniforms(seeds, FOR_PLACES, size)
        orders, choices, *jitter = uniforms.to(device).chunk(4, dim=1)
        order = _random_order(class_labels, orders)
        labels = torch.zeros(len(totals), count, dtype=torch.long, device=device)
        places = Places(labels, torch.zeros(len(totals), count, 2, device=device))
        for step in range(count):
            logits = self(places, order[:, step] + 1, totals.clamp(min=1))
            cumulated = logits.double().softmax(dim=1).cumsum(dim=1)
            cell = (cumulated < choices[:, step, None] * cumulated[:, -1:]).sum(dim=1)
            in_cell = torch.stack([values[:, step] for values in jitter], dim=1)
            corner = torch.stack([cell % GRID, cell.div(GRID, rounding_mode="floor")], dim=1)
            places.centers[:, step] = (corner + in_cell) / self.cells_per_pixel
            places.labels[:, step] = (order[:, step] + 1) * ((step < totals) & (cell < GRID**2))
        return places


def _random_order(class_labels: torch.Tensor, uniforms: torch.Tensor) -> torch.Tensor:
    """(B, num_labels) indices of the labels: those of each image first, in a random order."""
    return (uniforms + (class_labels <= 0)).argsort(dim=1)
