"""Objects in given places: a layout of discs is held fixed, and the image is sampled to match it.

A disc is not the outline of a cube. So it is fixed only at high noise, which decides where objects stand. After that,
the layout near it is free, and takes the outline of the object that is drawn. The empty rest is fixed to the end.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F

from lab_ddpm.data.conditions import check_condition
from lab_ddpm.diffusion.denoiser import Denoiser
from lab_ddpm.diffusion.layout import labels_in, make_layout, read_layout
from lab_ddpm.diffusion.pipeline import LabelConditionalPipeline
from lab_ddpm.diffusion.sampling import Known
from lab_ddpm.generation.generate import GeneratedImages, generate
from lab_ddpm.tools.errors import UserError

_RADIUS = 6 / 64  # of an object in a layout, as a share of the image's width; at least a patch, to be seen in it
_DECIDED = 1 / 2  # the timestep, as a share of T, above which discs are fixed
_PLACE = re.compile(r"(.+)@\s*(\d+(?:\.\d+)?)\s*,\s*(\d+(?:\.\d+)?)")


@dataclass(frozen=True)
class Place:
    """An object and its centre, in pixels from the left and from the top."""

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
    return Place(label.strip(), float(x), float(y))


def disc_radius(denoiser: Denoiser) -> float:
    """The radius of an object in a layout, in pixels."""
    return max(_RADIUS * denoiser.space.sample_size[1], denoiser.space.patch_size)


def layout_of_places(denoiser: Denoiser, places: Sequence[Place]) -> torch.Tensor:
    """A (1, channels, h, w) layout of discs. Where two overlap, the disc with the nearer centre counts.

    Raises:
        UserError: The model has no layout; a label is unknown or placed twice; a place is outside the image, or is
            completely covered by another one.
    """
    space = denoiser.space
    if not space.has_layout:
        raise UserError("only a model with a layout can place objects")
    height, width = space.sample_size
    check_condition([place.label for place in places], denoiser.labels)
    for place in places:
        if not (0 <= place.x < width and 0 <= place.y < height):
            raise UserError(f"a place must be within {width} x {height} pixels, got {place.x:g},{place.y:g}")
    x, y = torch.arange(width) + 0.5, torch.arange(height)[:, None] + 0.5
    distances = torch.stack([((x - place.x) ** 2 + (y - place.y) ** 2).sqrt() for place in places])
    nearest, which = distances.min(dim=0)
    values = torch.tensor([denoiser.labels.index(place.label) + 1 for place in places])
    masks = (values[which] * (nearest <= disc_radius(denoiser)))[None, None]
    layout = make_layout(masks, len(denoiser.labels), space.patch_size)
    shown = labels_in(read_layout(layout, len(denoiser.labels)), len(denoiser.labels))[0]
    for place in places:
        if not shown[denoiser.labels.index(place.label)]:
            raise UserError(f"places must be further apart: the {place.label!r} is covered at {place.x:g},{place.y:g}")
    return layout


def known_places(denoiser: Denoiser, places: Sequence[Sequence[Place]]) -> Known:
    """The part of samples that is known if all their objects stand in the given places: the layout.

    Raises:
        UserError: As for `layout_of_places`.
    """
    space = denoiser.space
    layouts = torch.cat([layout_of_places(denoiser, of_image) for of_image in places])
    values = space.encode(torch.zeros(len(places), space.in_channels, *space.sample_size), layouts)
    until = torch.full_like(values, denoiser.config["num_train_timesteps"], dtype=torch.long)
    space.parts(until)[1].copy_(known_until(denoiser, space.masks(values) > 0))
    return Known(values, until)


def generate_placed(
    pipeline: LabelConditionalPipeline, places: Sequence[Sequence[Place]], seeds: Sequence[int], **options: Any
) -> GeneratedImages:
    """Generate one image for each list of places. A list names all objects of its image.

    Args:
        pipeline: A pipeline whose model has a layout.
        places: N lists of places.
        seeds: N seeds.
        **options: Other arguments of `generate`.

    Raises:
        UserError: As for `layout_of_places`, or the number of seeds is wrong.
    """
    conditions = [tuple(place.label for place in of_image) for of_image in places]
    return generate(pipeline, conditions, seeds, known=known_places(pipeline.denoiser, places), **options)


def known_until(denoiser: Denoiser, put: torch.Tensor) -> torch.Tensor:
    """Down to which timestep a layout is fixed, see `Known`: to 0, but not so far in and near the placed objects.

    Args:
        denoiser: The model.
        put: (B, 1, h, w) bool: the patches of the placed objects. The patches next to them are treated alike.

    Returns:
        (B, 1, h, w) long.
    """
    around = F.max_pool2d(put.float(), 3, stride=1, padding=1) > 0
    return around * int(_DECIDED * denoiser.config["num_train_timesteps"])
