"""Add, remove, replace or move one object in an image; only its surroundings are drawn anew.

The model reads where the objects stand (`reading`). One place is changed, and the surroundings of the change are
sampled again for the new places, with the objects that it touches. All other pixels are held fixed.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F

from lab_ddpm.data.conditions import Condition, check_condition
from lab_ddpm.data.images import Images, to_tensor, to_uint8
from lab_ddpm.diffusion.denoiser import Denoiser
from lab_ddpm.diffusion.layout import make_layout
from lab_ddpm.diffusion.pipeline import LabelConditionalPipeline
from lab_ddpm.diffusion.places import Places, disc_masks, disc_radius
from lab_ddpm.diffusion.sampling import Known, image_seeds, sample
from lab_ddpm.generation.placing import Place, find_places, to_places
from lab_ddpm.generation.reading import read_images
from lab_ddpm.tools.errors import UserError

# How far around an object the image is sampled again, as shares of its width: for its edges, and for its shadow.
_EDGE, _SHADOW = 4 / 64, 12 / 64
_SEAM = 5  # pixels in which the new image takes over from the old one


class NotEdited(UserError):
    """The model does not see the object to be edited, or the place for a new one is taken."""


@dataclass(frozen=True)
class Edited:
    """An edited image.

    Attributes:
        image: (H, W, C) uint8.
        condition: The objects that it shows now.
        region: (H, W) bool: where it was sampled again.
    """

    image: Images
    condition: Condition
    region: torch.Tensor


def remove_object(
    pipeline: LabelConditionalPipeline, image: Images, condition: Condition, label: str, seed: int = 0
) -> Edited:
    """Remove an object from an (H, W, C) uint8 image of `condition`.

    Raises:
        NotEdited: The model does not see the object in the image.
        UserError: The condition does not name the object, or no other one; or the model does not read images.
    """
    rest = _without(condition, label)
    if not rest:
        raise UserError(f"an image must keep one of its objects: {label!r} is the only one")
    scene = _read(pipeline.denoiser, image, condition)
    return _redraw(pipeline, scene, scene.patches(label), scene.others(label), [], rest, seed)


def replace_object(
    pipeline: LabelConditionalPipeline, image: Images, condition: Condition, label: str, new_label: str, seed: int = 0
) -> Edited:
    """Replace an object by another one, for example of another colour.

    Raises:
        NotEdited: The model does not see the object in the image.
        UserError: The condition does not name the object, or the new label is unknown or shown already.
    """
    rest = _without(condition, label)
    check_condition([*rest, new_label], pipeline.denoiser.labels)
    scene = _read(pipeline.denoiser, image, condition)
    new = dataclasses.replace(scene.place(label), label=new_label)
    return _redraw(pipeline, scene, scene.patches(label), scene.others(label), [new], (*rest, new_label), seed)


def move_object(
    pipeline: LabelConditionalPipeline, image: Images, condition: Condition, place: Place, seed: int = 0
) -> Edited:
    """Move an object to another place. Raises the errors of `replace_object` and `add_object`."""
    _without(condition, place.label)
    scene = _read(pipeline.denoiser, image, condition)
    changed = scene.patches(place.label) | scene.patches_for(place)
    return _redraw(pipeline, scene, changed, scene.others(place.label), [place], condition, seed)


def add_object(
    pipeline: LabelConditionalPipeline, image: Images, condition: Condition, place: Place, seed: int = 0
) -> Edited:
    """Add an object to an image.

    Raises:
        NotEdited: Another object already stands there.
        UserError: As for `remove_object`, or the place is outside the image.
    """
    check_condition([*condition, place.label], pipeline.denoiser.labels)
    scene = _read(pipeline.denoiser, image, condition)
    changed = scene.patches_for(place)
    return _redraw(pipeline, scene, changed, scene.places, [place], (*condition, place.label), seed)


@dataclass(frozen=True)
class _Scene:
    """What the model reads in an image: the sample, the (1, 1, h, w) masks of its layout, and where objects stand."""

    denoiser: Denoiser
    sample: torch.Tensor
    masks: torch.Tensor
    places: Sequence[Place]

    def place(self, label: str) -> Place:
        """Where an object stands."""
        for place in self.places:
            if place.label == label:
                return place
        raise NotEdited(f"the model does not see a {label!r} in the image")

    def others(self, label: str) -> list[Place]:
        """Where all objects but one stand."""
        return [place for place in self.places if place.label != label]

    def patches(self, label: str) -> torch.Tensor:
        """(1, 1, h, w) bool: where an object is seen."""
        self.place(label)
        return self.masks == self.denoiser.labels.index(label) + 1

    def to_pixels(self, patches: torch.Tensor) -> torch.Tensor:
        """(1, 1, h, w) values of patches -> (1, 1, H, W) float32."""
        return F.interpolate(patches.float(), scale_factor=float(self.denoiser.space.patch_size))

    def patches_for(self, place: Place) -> torch.Tensor:
        """(1, 1, h, w) bool: what an object in a new place would touch. It must not hide half of another one."""
        touched = _disc(self.denoiser, place)
        for other in self.others(place.label):
            shown = self.patches(other.label)
            if (shown & touched).sum() >= shown.sum() / 2:
                raise NotEdited(f"{place.x:g},{place.y:g} must be a free place, but the {other.label!r} stands there")
        return touched


def _read(denoiser: Denoiser, image: Images, condition: Condition) -> _Scene:
    sample = read_images(denoiser, to_tensor(image[None]), denoiser.class_labels([condition])).cpu()
    masks = denoiser.space.masks(sample)
    (seen,) = find_places(denoiser, masks)
    return _Scene(denoiser, sample, masks, [place for place in seen if place.label in condition])


def _without(condition: Condition, label: str) -> Condition:
    if label not in condition:
        raise UserError(f"the object must be one of {list(condition)}, got {label!r}")
    return tuple(name for name in condition if name != label)


def _redraw(
    pipeline: LabelConditionalPipeline,
    scene: _Scene,
    changed: torch.Tensor,
    others: Sequence[Place],
    new: Sequence[Place],
    condition: Condition,
    seed: int,
) -> Edited:
    """Sample the image again around the `changed` (1, 1, h, w) patches, with the `others` and at most one new object.

    Where no object will stand, the layout is held empty: i-CLEVR always has an object in the middle, so the model would
    put another one there.
    """
    space = scene.denoiser.space
    region, objects, is_drawn = _regions(scene, changed, others, new)
    empty = make_layout(torch.zeros_like(scene.masks), space.num_labels, patch_size=1)
    layout = torch.where(region, empty, space.layout(scene.sample))
    before = space.decode(scene.sample)
    values = space.encode(before, layout)
    is_known = torch.ones_like(values, dtype=torch.bool)
    for part, is_free in zip(space.parts(is_known), (region, is_drawn), strict=True):
        part &= ~is_free
    rows, seeds = scene.denoiser.class_labels([condition]), image_seeds(seed, 1)
    places, known = _with_outlines(scene, [*others, *new], len(others), seeds), Known(values, is_known)
    after = space.decode(sample(scene.denoiser, rows, seeds, pipeline.sampling, known, places=places).cpu())
    of_region, of_objects = scene.to_pixels(region), scene.to_pixels(objects)
    eroded = -F.max_pool2d(-of_region, _SEAM, 1, _SEAM // 2)
    share = F.avg_pool2d(eroded, _SEAM, 1, _SEAM // 2).maximum(of_objects)  # of the new image
    return Edited(to_uint8(before + share * (after - before))[0], condition, of_region[0, 0] > 0)


def _regions(
    scene: _Scene, changed: torch.Tensor, others: Sequence[Place], new: Sequence[Place]
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """What is sampled again, as (1, 1, h, w) bool patches: the image, its objects, and their layout."""
    edge, shadow, stays = _around(changed, _EDGE), _around(changed, _SHADOW), torch.zeros_like(changed)
    drawn_places = list(new)
    for place in others:
        seen = scene.patches(place.label)
        if (_around(seen, _EDGE) & edge).any():  # half an object would not match its other half
            drawn_places.append(place)
            changed = changed | seen
        else:
            stays |= _around(seen, _EDGE)
    objects = _around(changed, _EDGE) & ~stays
    region = objects | (shadow & ~stays)
    is_drawn = torch.zeros_like(region)
    for place in drawn_places:
        is_drawn |= region & _around(_disc(scene.denoiser, place), _EDGE)
    return region, objects, is_drawn


def _with_outlines(scene: _Scene, places: Sequence[Place], count: int, seeds: Sequence[int]) -> Places:
    """The places of one image: the first `count` as its layout shows them, the others with drawn outlines."""
    denoiser = scene.denoiser
    assert denoiser.placer is not None
    outlines, asked = denoiser.placer.outlines, to_places(denoiser, [places]).to(denoiser.device)
    pixels = scene.to_pixels(scene.masks).to(denoiser.device)
    seen, drawn = outlines.nearest(pixels, asked).outlines, outlines.draw(asked, seeds).outlines
    assert seen is not None
    assert drawn is not None
    return dataclasses.replace(asked, outlines=torch.cat([seen[:, :count], drawn[:, count:]], dim=1))


def _disc(denoiser: Denoiser, place: Place) -> torch.Tensor:
    """(1, 1, h, w) bool: the patches that a disc in a place touches."""
    space = denoiser.space
    disc = disc_masks(to_places(denoiser, [[place]]), space.sample_size, disc_radius(space)) > 0
    return F.max_pool2d(disc.float(), space.patch_size) > 0


def _around(patches: torch.Tensor, share: float) -> torch.Tensor:
    """(1, 1, h, w) bool: the patches, and those nearer to them than a share of the width."""
    margin = max(1, round(share * patches.shape[-1]))
    return F.max_pool2d(patches.float(), 2 * margin + 1, stride=1, padding=margin) > 0
