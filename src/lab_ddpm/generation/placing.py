"""Objects in given places, and the places that a model decides by itself."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from lab_ddpm.data.conditions import Condition, check_condition
from lab_ddpm.data.names import clean_label
from lab_ddpm.diffusion.denoiser import Denoiser
from lab_ddpm.diffusion.layout import labels_in
from lab_ddpm.diffusion.pipeline import LabelConditionalPipeline
from lab_ddpm.diffusion.places import Places, disc_masks, disc_radius, places_in
from lab_ddpm.generation.generate import GeneratedImages, generate
from lab_ddpm.tools.errors import UserError

_PLACE = re.compile(r"(.+)@\s*(\d+(?:\.\d+)?)\s*,\s*(\d+(?:\.\d+)?)")


@dataclass(frozen=True)
class Place:
    """An object and its center, in pixels from the left and from the top."""

    label: str
    x: float
    y: float


def parse_place(text: str) -> Place:
    """Read a place such as `"red cube@20,30"`.

    Raises:
        UserError: The text has another form.
    """
    found = _PLACE.fullmatch(text.strip())
    if found is None:
        raise UserError(f"a place must be written as LABEL@X,Y, such as 'red cube@20,30', got {text!r}")
    label, x, y = found.groups()
    return Place(clean_label(label), float(x), float(y))


def generate_placed(
    pipeline: LabelConditionalPipeline, places: Sequence[Sequence[Place]], seeds: Sequence[int], **options: Any
) -> GeneratedImages:
    """Generate one image for each list of places, which names all objects of its image; `options` are of `generate`.

    Raises:
        UserError: As for `to_places`, the model has no layout, or the number of seeds is wrong.
    """
    conditions = [tuple(place.label for place in of_image) for of_image in places]
    return generate(pipeline, conditions, seeds, places=to_places(pipeline.denoiser, places), **options)


def draw_places(denoiser: Denoiser, conditions: Sequence[Condition], seeds: Sequence[int]) -> list[list[Place]]:
    """The places that the placer of a model decides for N conditions and seeds, as `generate` does it.

    Raises:
        UserError: The model has no layout.
    """
    if denoiser.placer is None:
        raise UserError("only a model with a layout has places")
    return from_places(denoiser, denoiser.placer.draw(denoiser.class_labels(conditions), seeds))


def to_places(denoiser: Denoiser, places: Sequence[Sequence[Place]]) -> Places:
    """The places of N images, as `sample` takes them.

    Raises:
        UserError: A label is unknown or placed twice; a place is outside the image, or where another object stands.
    """
    height, width = size = denoiser.space.sample_size
    most = max([1, *map(len, places)])
    labels, centers = torch.zeros(len(places), most, dtype=torch.long), torch.zeros(len(places), most, 2)
    for row, of_image in enumerate(places):
        check_condition([place.label for place in of_image], denoiser.labels)
        for column, place in enumerate(of_image):
            if not (0 <= place.x < width and 0 <= place.y < height):
                raise UserError(f"a place must be within {width} x {height} pixels, got {place.x:g},{place.y:g}")
            labels[row, column] = denoiser.labels.index(place.label) + 1
            centers[row, column] = torch.tensor([place.x, place.y])
    result = Places(labels, centers)
    shown = labels_in(disc_masks(result, size, disc_radius(denoiser.space)), len(denoiser.labels))
    for of_image, are_shown in zip(places, shown, strict=True):
        for place in of_image:
            if not are_shown[denoiser.labels.index(place.label)]:
                where = f"{place.x:g},{place.y:g}"
                raise UserError(f"places must be further apart: the {place.label!r} is covered at {where}")
    return result


def from_places(denoiser: Denoiser, places: Places) -> list[list[Place]]:
    """The places of N images: the inverse of `to_places`."""
    return [
        [Place(denoiser.labels[label - 1], x, y) for label, (x, y) in zip(labels, centers, strict=True) if label]
        for labels, centers in zip(places.labels.tolist(), places.centers.tolist(), strict=True)
    ]


def find_places(denoiser: Denoiser, masks: torch.Tensor) -> list[list[Place]]:
    """The places in N masks of any resolution, see `places.places_in`."""
    return from_places(denoiser, places_in(masks, denoiser.space))
