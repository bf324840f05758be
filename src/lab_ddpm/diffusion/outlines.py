"""Outlines: how big each object looks and how it is turned.

    wish    = a training object of the label, which the seed and the label pick
    outline = argmin_k |(place_k - place) / near|^2 + min(|form_k - form_wish| / alike, 3)^2     over the label's k

A cube may be turned in any way. If the network had to decide it while it draws, its first predictions would be means
over all turns, and after few steps the corners would be round. So an outline is decided before, like a place.

Outlines are moved by whole pixels, never scaled: a cylinder that is a pixel wider may look like a cube. For the same
reason they are finer than the image. The wish stays the same while an object moves, and while others come and go, so
it hardly turns.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import torch
import torch.nn.functional as F

from lab_ddpm.data.images import MASK_SCALE, mask_size
from lab_ddpm.data.random_numbers import FOR_OUTLINES, image_uniforms
from lab_ddpm.diffusion.float32 import Float32Module
from lab_ddpm.diffusion.layout import labels_and_shares
from lab_ddpm.diffusion.packed_bits import pack, unpack
from lab_ddpm.diffusion.places import Places, disc_masks, disc_radius, num_in_front, places_in
from lab_ddpm.diffusion.sample_space import SampleSpace

NUM_OUTLINES = 3072  # training objects whose outlines are remembered
_NEAR = 1 / 16, 1 / 64  # units of distances in x and y, as shares of the image's width: the size depends on y
_ALIKE = 0.09  # unit of distances between forms
_UNLIKE = 3.0  # units; forms that are less alike count the same
_FORM_SIDE = 4  # cells of a form
_WINDOW = 2.0  # side of the window that a form shows, in square roots of the object's area
_FAR = 1e6  # more than any other cost
_CHUNK = 256  # images at once


class Outlines(Float32Module):
    """The outlines of the objects of a model. Until `fit`, all are discs of `places.disc_radius`.

    Args:
        space: The samples of the model.

    Attributes:
        labels, centers: Of the objects with these outlines, as in `Places`, sorted by label. Label 0: a disc, which is
            for labels of which no object was seen.
        forms: (NUM_OUTLINES, _FORM_SIDE^2) in [0, 1]: the outlines at few cells, all at the same size.
        packed: (NUM_OUTLINES, ceil(H W / 8)) uint8: the outlines in the middle half of the image, 8 fine pixels in each
            byte.
        is_large: (NUM_OUTLINES,) bool: the outlines that need the whole image, and are kept in the image's pixels.
    """

    labels: torch.Tensor
    centers: torch.Tensor
    forms: torch.Tensor
    packed: torch.Tensor
    is_large: torch.Tensor

    def __init__(self, space: SampleSpace) -> None:
        super().__init__()
        self.space = space
        height, width = space.sample_size
        self.middle = (width / 2, height / 2)
        middle = torch.tensor([[self.middle]])
        radius = MASK_SCALE * disc_radius(space)
        disc = disc_masks(Places(torch.ones(1, 1, dtype=torch.long), middle), space.sample_size, radius) > 0
        self.register_buffer("labels", torch.zeros(NUM_OUTLINES, dtype=torch.long))
        self.register_buffer("centers", middle[0].repeat(NUM_OUTLINES, 1))
        self.register_buffer("forms", torch.zeros(NUM_OUTLINES, _FORM_SIDE**2))
        self.register_buffer("packed", pack(disc.flatten()).repeat(NUM_OUTLINES, 1))
        self.register_buffer("is_large", torch.zeros(NUM_OUTLINES, dtype=torch.bool))

    @torch.no_grad()
    def fit(self, masks: torch.Tensor) -> None:
        """Learn from (N, 1, h, w) masks, see `SampleSpace.make_layout`, in any order. The result is not random.

        Each label gets the same share, as far as it has objects. Objects that touch others come last, since the others
        may hide a part of them. What was learnt before is forgotten.
        """
        for values in self.buffers():
            values[1:] = values[0]  # the first outline is always a disc
        if len(masks) == 0:
            return
        images, objects = _objects_in(masks, self.space)
        of_labels = F.one_hot(objects.labels[:, 0], self.space.num_labels + 1)
        rank_of_label = of_labels.cumsum(dim=0).gather(1, objects.labels)[:, 0]
        chosen = rank_of_label.argsort(stable=True)[: NUM_OUTLINES - 1]
        chosen = chosen[objects.labels[chosen, 0].argsort(stable=True)]
        for start in range(0, len(chosen), _CHUNK):
            which = chosen[start : start + _CHUNK]
            rows = torch.arange(start, start + len(which)) + NUM_OUTLINES - len(chosen)
            self.labels[rows], self.centers[rows] = objects.labels[which, 0], objects.centers[which, 0]
            fine = F.interpolate(masks[images[which]].float(), mask_size(self.space.sample_size))[:, 0]
            own = fine == objects.labels[which, 0, None, None]
            self.forms[rows] = _forms(own, MASK_SCALE * objects.centers[which, 0])
            in_the_middle = _shift(own, MASK_SCALE * self._to_middle(objects.centers[which, 0]))
            window = F.pad(in_the_middle, [-cut for cut in self._around_window])
            large = F.avg_pool2d(in_the_middle.float(), MASK_SCALE) >= 0.5
            is_large = window.sum(dim=(1, 2)) < in_the_middle.sum(dim=(1, 2))
            self.is_large[rows] = is_large
            self.packed[rows] = pack(torch.where(is_large[:, None, None], large, window).flatten(1))

    def nearest(self, layouts: torch.Tensor, places: Places) -> Places:
        """The places with the outlines that are closest to (B, C, h, w) layouts, moved by up to 7 whole pixels.

        Closest means: the shares of the patches that an outline covers differ least from those that the layout shows.
        What another object covers does not count.
        """
        labels, shares = (of[:, 0] for of in labels_and_shares(layouts, self.space.num_labels))
        centers, outlines = places.centers.clone(), torch.zeros_like(places.labels)
        for image, column in places.labels.nonzero().tolist():
            label = places.labels[image, column]
            is_own = labels[image] == label
            own, free = shares[image] * is_own, 1 - shares[image] * ~is_own
            outlines[image, column], centers[image, column] = self._closest(label, centers[image, column], own, free)
        return Places(places.labels, centers, outlines)

    def _closest(
        self, label: torch.Tensor, center: torch.Tensor, own: torch.Tensor, free: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The outline of a label that covers most nearly the (h, w) shares `own` where it is `free`, and its center."""
        candidates = (self.labels == label).nonzero()[:, 0]
        candidates = candidates if len(candidates) else label.new_zeros(1)
        planes = torch.cat([F.avg_pool2d(self._planes(part).float(), MASK_SCALE) for part in candidates.split(_CHUNK)])

        def cost(by: torch.Tensor) -> torch.Tensor:
            covered = F.avg_pool2d(_shift(planes, by.expand(len(planes), 2)), self.space.patch_size)
            return (free * (covered - own) ** 2).sum(dim=(1, 2))

        by, best = (center - center.new_tensor(self.middle)).round(), candidates[0]
        for step, count in ((3, 2), (1, 1)):
            axis = range(-step * count, step * count + 1, step)
            moves = [by + by.new_tensor([x, y]) for x in axis for y in axis]
            where, which = divmod(int(torch.stack([cost(move) for move in moves]).argmin()), len(candidates))
            by, best = moves[where], candidates[which]
        return best, self.centers[best] + by + self._to_middle(self.centers[best])

    @torch.no_grad()
    def draw(self, places: Places, seeds: Sequence[int]) -> Places:
        """The places with outlines that fit them. Those of an image depend on its places and its seed alone."""
        counts = (self.labels[:, None] == torch.arange(self.space.num_labels + 1, device=self.labels.device)).sum(dim=0)
        uniforms = image_uniforms(seeds, FOR_OUTLINES, len(counts))
        of_label = (uniforms.to(counts.device) * counts).long() + counts.cumsum(dim=0) - counts
        wish = of_label.clamp(max=NUM_OUTLINES - 1).gather(1, places.labels)
        return self.fitting(places, dataclasses.replace(places, outlines=wish))

    def fitting(self, places: Places, wish: Places) -> Places:
        """The places with outlines that fit them and look like those of the wish, which may be of other labels."""
        assert wish.outlines is not None
        unit = places.centers.new_tensor(_NEAR) * self.space.sample_size[1]
        near = _distances(places.centers / unit, self.centers / unit)
        alike = (_distances(self.forms[wish.outlines], self.forms) / _ALIKE).clamp(max=_UNLIKE)
        cost = near**2 + alike**2 + _FAR * self._mismatch(places)
        return dataclasses.replace(places, outlines=cost.argmin(dim=-1))

    def masks(self, places: Places) -> torch.Tensor:
        """Long masks of the outlines in their places, finer than the image: see `SampleSpace.make_layout`.

        Of two that overlap, the lower one is in front.
        """
        assert places.outlines is not None
        own_centers = self.centers[places.outlines]
        by = (places.centers - own_centers).round() - self._to_middle(own_centers)
        is_inside = _shift(self._planes(places.outlines), MASK_SCALE * by)
        shown = places.labels.new_zeros(len(places.labels), 1, *is_inside.shape[2:])
        for column in num_in_front(places).argsort(dim=1, descending=True).T[..., None]:  # from the back to the front
            label = places.labels.gather(1, column)[..., None, None]
            plane = is_inside.gather(1, column[..., None, None].expand_as(shown))
            shown = torch.where(plane & (label > 0), label, shown)
        return shown

    def _planes(self, outlines: torch.Tensor) -> torch.Tensor:
        """Outlines in the middle of the image: bool, finer than the image."""
        height, width = self.space.sample_size
        kept = unpack(self.packed[outlines], height * width).unflatten(-1, (height, width))
        large = kept.repeat_interleave(MASK_SCALE, dim=-2).repeat_interleave(MASK_SCALE, dim=-1)
        return torch.where(self.is_large[outlines][..., None, None], large, F.pad(kept, self._around_window))

    @property
    def _around_window(self) -> list[int]:
        """Fine pixels to the left, to the right, above and below the window that `packed` shows."""
        height, width = self.space.sample_size
        return [width // 2, width - width // 2, height // 2, height - height // 2]

    def _to_middle(self, centers: torch.Tensor) -> torch.Tensor:
        """(..., 2): by how many whole pixels an object with this center stands beside the middle of the image."""
        return (centers.new_tensor(self.middle) - centers).round()

    def _mismatch(self, places: Places) -> torch.Tensor:
        """(B, K, NUM_OUTLINES): 1 for discs, 2 for outlines of objects with another label."""
        return (places.labels[..., None] != self.labels) * (1.0 + (self.labels > 0))


def _objects_in(masks: torch.Tensor, space: SampleSpace) -> tuple[torch.Tensor, Places]:
    """The M objects in N masks, first those that touch no other one: (M,) images and (M, 1) places."""
    images, labels, centers, are_touched = [], [], [], []
    for start in range(0, len(masks), _CHUNK):
        shown = masks[start : start + _CHUNK].long()
        places = places_in(shown, space)
        rows, columns = places.labels.nonzero(as_tuple=True)
        label = places.labels[rows, columns, None]
        own = shown[rows] == label[..., None, None]
        touched = F.max_pool2d(own.float(), 3, stride=1, padding=1).bool() & ~own & (shown[rows] > 0)
        images.append(start + rows)
        labels.append(label)
        centers.append(places.centers[rows, columns, None])
        are_touched.append(touched.flatten(1).any(dim=1))
    order = torch.cat(are_touched).long().argsort(stable=True)
    return torch.cat(images)[order], Places(torch.cat(labels)[order], torch.cat(centers)[order])


def _forms(own: torch.Tensor, centers: torch.Tensor) -> torch.Tensor:
    """(M, _FORM_SIDE^2): the forms of (M, H, W) bool objects with (M, 2) centers in pixels."""
    size = own.new_tensor(own.shape[:0:-1], dtype=torch.float32)  # width and height
    sides = _WINDOW * own.flatten(1).sum(dim=1, keepdim=True).sqrt() / size
    windows = torch.cat([torch.diag_embed(sides), (2 * centers / size - 1)[..., None]], dim=2)
    fine = F.affine_grid(windows, [len(own), 1, 8 * _FORM_SIDE, 8 * _FORM_SIDE], align_corners=False)
    return F.avg_pool2d(F.grid_sample(own[:, None].float(), fine, align_corners=False), 8).flatten(1)


def _shift(planes: torch.Tensor, by: torch.Tensor) -> torch.Tensor:
    """(..., H, W) planes, moved by (..., 2) of their pixels to the right and down. What comes in is 0 or False."""
    *_, height, width = planes.shape
    columns, rows = (
        torch.arange(side, device=by.device) - move[..., None].long()
        for side, move in zip((width, height), by.unbind(dim=-1), strict=True)
    )
    is_inside = ((rows >= 0) & (rows < height))[..., None] & ((columns >= 0) & (columns < width))[..., None, :]
    moved = planes.gather(-2, rows.clamp(0, height - 1)[..., None].expand(planes.shape))
    return moved.gather(-1, columns.clamp(0, width - 1)[..., None, :].expand(planes.shape)) * is_inside


def _distances(points: torch.Tensor, others: torch.Tensor) -> torch.Tensor:
    """(B, K, M) distances of (B, K, D) points from (M, D) others, which do not depend on B in the last bit."""
    return torch.cdist(points, others, compute_mode="donot_use_mm_for_euclid_dist")
