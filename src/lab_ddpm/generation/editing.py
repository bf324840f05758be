"""Add, remove, replace or move one object in an image; only its surroundings are drawn anew.

The model reads where the objects stand and which outlines they have (`reading`). One of them is changed, and the
surroundings of the change are sampled again for the new outlines, with what it had hidden of others. All other pixels
stay.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F

from lab_ddpm.data.conditions import Condition, check_condition
from lab_ddpm.data.images import Images, to_tensor, to_uint8
from lab_ddpm.diffusion.denoiser import Denoiser
from lab_ddpm.diffusion.outlines import Outlines
from lab_ddpm.diffusion.pipeline import LabelConditionalPipeline
from lab_ddpm.diffusion.places import Places, places_in
from lab_ddpm.diffusion.sample_space import SampleSpace
from lab_ddpm.diffusion.sampling import Known, Sampling, image_seeds, sample
from lab_ddpm.generation.placing import Place, to_places
from lab_ddpm.generation.reading import read_images
from lab_ddpm.tools.errors import UserError

# How far around an object the image is sampled again, as shares of its width: for its edges, and for its shadow.
_EDGE, _SHADOW = 4 / 64, 12 / 64
_BORDER = 2  # pixels around an object that may show some of it
_SEAM = 5  # pixels in which the new image takes over from the old one


class NotEdited(UserError):
    """The model does not see the object to be edited, or there is no room for the new one."""


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
    """Remove an object from an image.

    Args:
        pipeline: The model. `with_sampling("dpmpp_sde", 16)` leaves less of a trace than few steps do.
        image: (H, W, C) uint8, in the size of the model's images; `generate.open_image` reads a file.
        condition: The objects that it shows.
        label: The object to remove.
        seed: Of the noise.

    Raises:
        NotEdited: The model does not see the object in the image.
        UserError: The condition does not name the object, or no other one; or the model does not read images.
    """
    rest = _without(condition, label)
    if not rest:
        raise UserError(f"an image must keep one of its objects: {label!r} is the only one")
    scene = _read(pipeline.denoiser, image, condition)
    return _redraw(scene, scene.place_of(label), None, rest, seed, pipeline.sampling)


def replace_object(
    pipeline: LabelConditionalPipeline, image: Images, condition: Condition, label: str, new_label: str, seed: int = 0
) -> Edited:
    """Replace an object by another one, for example of another colour. It is turned alike.

    Raises:
        NotEdited: The model does not see the object in the image.
        UserError: The condition does not name the object, or the new label is unknown or shown already.
    """
    rest = _without(condition, label)
    check_condition([*rest, new_label], pipeline.denoiser.labels)
    scene = _read(pipeline.denoiser, image, condition)
    old = scene.place_of(label)
    new = dataclasses.replace(old, labels=torch.full_like(old.labels, scene.denoiser.labels.index(new_label) + 1))
    new = scene.outlines.fitting(new, old)
    return _redraw(scene, old, new, (*rest, new_label), seed, pipeline.sampling)


def move_object(
    pipeline: LabelConditionalPipeline, image: Images, condition: Condition, place: Place, seed: int = 0
) -> Edited:
    """Move an object to another place. It is turned alike. Raises the errors of `replace_object` and `add_object`."""
    _without(condition, place.label)
    scene = _read(pipeline.denoiser, image, condition)
    old = scene.place_of(place.label)
    new = scene.outlines.fitting(scene.to_places(place), old)
    return _redraw(scene, old, new, condition, seed, pipeline.sampling)


def add_object(
    pipeline: LabelConditionalPipeline, image: Images, condition: Condition, place: Place, seed: int = 0
) -> Edited:
    """Add an object to an image.

    Raises:
        NotEdited: Most of the object would be hidden or outside the image, or it would hide most of another one; or the
            model does not draw it, since in its training images no object stands there.
        UserError: As for `remove_object`, or the place is outside the image.
    """
    check_condition([*condition, place.label], pipeline.denoiser.labels)
    scene = _read(pipeline.denoiser, image, condition)
    new = scene.outlines.draw(scene.to_places(place), image_seeds(seed, 1))
    return _redraw(scene, None, new, (*condition, place.label), seed, pipeline.sampling)


@dataclass(frozen=True)
class _Scene:
    """What the model reads in an image: the sample, and where its objects stand, with their outlines."""

    denoiser: Denoiser
    sample: torch.Tensor
    places: Places

    @property
    def outlines(self) -> Outlines:
        """The outlines of the model."""
        assert self.denoiser.placer is not None
        return self.denoiser.placer.outlines

    def to_places(self, place: Place) -> Places:
        """The (1, 1) places of one object."""
        return to_places(self.denoiser, [[place]]).to(self.denoiser.device)

    def place_of(self, label: str) -> Places:
        """The (1, 1) places of an object that is seen."""
        is_it = self.places.labels[0] == self.denoiser.labels.index(label) + 1
        if not is_it.any():
            raise NotEdited(f"the model does not see a {label!r} in the image")
        return self.places.columns(is_it)


def _read(denoiser: Denoiser, image: Images, condition: Condition) -> _Scene:
    check_condition(condition, denoiser.labels)
    image, size = np.asarray(image), (*denoiser.space.sample_size, denoiser.space.in_channels)
    if image.shape != size or image.dtype != np.uint8:
        raise UserError(f"`image` must be {size} uint8 for this model, got {image.shape} {image.dtype}")
    class_labels = denoiser.class_labels([condition])
    sample = read_images(denoiser, to_tensor(image[None]), class_labels)
    space = denoiser.space
    found = places_in(space.masks(sample), space)
    is_named = F.pad(class_labels, (1, 0)).gather(1, found.labels) > 0
    assert denoiser.placer is not None
    places = denoiser.placer.outlines.nearest(space.layout(sample), Places(found.labels * is_named, found.centers))
    return _Scene(denoiser, sample, places)


def _without(condition: Condition, label: str) -> Condition:
    if label not in condition:
        raise UserError(f"the object must be one of {list(condition)}, got {label!r}")
    return tuple(name for name in condition if name != label)


def _redraw(
    scene: _Scene, old: Places | None, new: Places | None, condition: Condition, seed: int, sampling: Sampling
) -> Edited:
    """Sample the image again where an old object goes and a new one comes.

    The layout is held fixed everywhere. i-CLEVR always has an object in the middle, so the model would put one there.
    """
    space = scene.denoiser.space
    others = scene.places if old is None else scene.places.columns(scene.places.labels[0] != old.labels[0])
    places = others if new is None else others.joined(new)
    changed, stays = _changed(scene, old, new, others, places)
    region = _region(changed, stays, space)
    layout = space.make_layout(scene.outlines.masks(places))
    assert layout is not None
    before = space.decode(scene.sample)
    values = space.encode(before, torch.where(region, layout, space.layout(scene.sample)))
    is_known = torch.ones_like(values, dtype=torch.bool)
    space.parts(is_known)[0].logical_and_(~region)
    class_labels, known = scene.denoiser.class_labels([condition]), Known(values, is_known)
    drawn = sample(scene.denoiser, class_labels, image_seeds(seed, 1), sampling, known, places=places)
    in_pixels = _in_pixels(region, space)
    inner = -F.max_pool2d(-in_pixels.maximum(stays.float()), _SEAM, 1, _SEAM // 2)  # no seam along what stays
    share = (F.avg_pool2d(inner, _SEAM, 1, _SEAM // 2) * ~stays).maximum(_around(changed, _BORDER).float())
    after = before + share * (space.decode(drawn) - before)
    if new is not None and not (space.masks(read_images(scene.denoiser, after, class_labels)) == new.labels).any():
        name = scene.denoiser.labels[int(new.labels) - 1]
        raise NotEdited(f"the model draws no {name!r} there: in its training images, objects stand elsewhere")
    return Edited(to_uint8(after.cpu())[0], condition, in_pixels[0, 0].cpu() > 0)


def _changed(
    scene: _Scene, old: Places | None, new: Places | None, others: Places, places: Places
) -> tuple[torch.Tensor, torch.Tensor]:
    """The (1, 1, H, W) bool pixels of the objects that are drawn, and of those that stay."""
    space = scene.denoiser.space
    before, after = scene.outlines.masks(scene.places), scene.outlines.masks(places)
    is_drawn = torch.zeros_like(before, dtype=torch.bool)
    if old is not None:
        is_drawn |= before == old.labels
    if new is not None:
        shown = after == new.labels
        in_the_middle = dataclasses.replace(new, centers=new.centers.new_tensor([[scene.outlines.middle]]))
        if 2 * shown.sum() < (scene.outlines.masks(in_the_middle) > 0).sum():
            raise NotEdited("an object needs room: at this place most of it would be hidden or outside the image")
        is_drawn |= shown
    for label in others.labels[0][others.labels[0] > 0]:
        if 2 * (after == label).sum() < (before == label).sum():
            name = scene.denoiser.labels[label - 1]
            raise NotEdited(f"an object must not hide others: at this place it would hide most of the {name!r}")
    changed, kept = (
        F.adaptive_max_pool2d(finer.float(), space.sample_size) > 0
        for finer in (is_drawn, (before == after) & (before > 0))
    )
    if old is not None:  # of one half hidden, the outline may be wrong
        changed |= _in_pixels(space.masks(scene.sample), space) == old.labels
    return changed, kept & ~changed


def _region(changed: torch.Tensor, stays: torch.Tensor, space: SampleSpace) -> torch.Tensor:
    """(1, 1, h, w) bool: the patches that are sampled again."""
    width = space.sample_size[1]
    edge, shadow = (max(1, round(share * width)) for share in (_EDGE, _SHADOW))

    def touched(pixels: torch.Tensor) -> torch.Tensor:
        return F.max_pool2d(pixels.float(), space.patch_size) > 0

    return (
        touched(_around(changed, _BORDER))
        | (touched(_around(changed, edge)) & ~touched(stays))
        | (touched(_around(changed, shadow)) & ~touched(_around(stays, _BORDER)))
    )


def _in_pixels(patches: torch.Tensor, space: SampleSpace) -> torch.Tensor:
    """(1, 1, h, w) values of patches -> (1, 1, H, W) float32."""
    return F.interpolate(patches.float(), scale_factor=float(space.patch_size))


def _around(pixels: torch.Tensor, margin: int) -> torch.Tensor:
    """(1, 1, H, W) bool: the pixels, and those that are at most so many pixels away."""
    return F.max_pool2d(pixels.float(), 2 * margin + 1, stride=1, padding=margin) > 0
