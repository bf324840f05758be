"""Objects put where they are asked for: a layout is drawn and clamped, and the picture is sampled to go with it.

A disc is not the outline of a cube, so it is known only while the noise is high and what stands where is decided;
then the map around it is free, and takes the outline of what is drawn there. The empty rest is known to the end.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F

from lab_ddpm.data.conditions import check_condition
from lab_ddpm.diffusion.denoiser import Denoiser
from lab_ddpm.diffusion.pipeline import Known
from lab_ddpm.tools.errors import UserError

_RADIUS = 6 / 64  # of an object in a layout, as a share of the picture's width
_DECIDED = 1 / 2  # the timestep, as a share of T, above which discs are known
_PLACE = re.compile(r"(.+)@\s*(\d+(?:\.\d+)?)\s*,\s*(\d+(?:\.\d+)?)")


@dataclass(frozen=True)
class Place:
    """An object and its middle, in pixels from the left and from the top."""

    label: str
    x: float
    y: float


def parse_place(text: str) -> Place:
    """`"red cube@20,30"` as a place.

    Raises:
        UserError: It is not written like that.
    """
    found = _PLACE.fullmatch(text.strip())
    if found is None:
        raise UserError(f"a place must be written as LABEL@X,Y, such as 'red cube@20,30', got {text!r}")
    label, x, y = found.groups()
    return Place(label.strip(), float(x), float(y))


def place_masks(denoiser: Denoiser, places: Sequence[Place]) -> torch.Tensor:
    """Discs in the places: (1, H, W) as in `layout.make_layout`; where two meet, the nearer middle counts.

    Raises:
        UserError: A label that the model does not know, or one that is placed twice; a place outside the picture.
    """
    height, width = denoiser.space.sample_size
    check_condition([place.label for place in places], denoiser.labels)
    for place in places:
        if not (0 <= place.x < width and 0 <= place.y < height):
            raise UserError(f"a place must be within {width} x {height} pixels, got {place.x:g},{place.y:g}")
    x, y = torch.arange(width) + 0.5, torch.arange(height)[:, None] + 0.5
    distances = torch.stack([((x - place.x) ** 2 + (y - place.y) ** 2).sqrt() for place in places])
    nearest, which = distances.min(dim=0)
    values = torch.tensor([denoiser.labels.index(place.label) + 1 for place in places])
    return (values[which] * (nearest <= _RADIUS * width))[None]


def known_places(denoiser: Denoiser, places: Sequence[Sequence[Place]]) -> Known:
    """What is known of samples whose objects, all of them, stand in the given places: the layout.

    Raises:
        UserError: As `place_masks`, or the model has no layout.
    """
    space = denoiser.space
    if not space.has_layout:
        raise UserError("only a model with a layout puts objects in places")
    masks = torch.stack([place_masks(denoiser, of_picture) for of_picture in places])
    nothing = torch.zeros(len(places), space.in_channels, *space.sample_size)
    values = space.encode(nothing, space.make_layout(masks))
    until = torch.full_like(values, denoiser.config["num_train_timesteps"], dtype=torch.long)
    space.parts(until)[1].copy_(known_until(denoiser, space.masks(values) > 0))
    return Known(values, until)


def known_until(denoiser: Denoiser, put: torch.Tensor) -> torch.Tensor:
    """How long a layout is known, see `Known`: to the end, but for objects that are put there and a patch around them.

    Args:
        denoiser: The model.
        put: (B, 1, h, w) bool, the patches of those objects.

    Returns:
        (B, 1, h, w) long.
    """
    around = F.max_pool2d(put.float(), 3, stride=1, padding=1) > 0
    return around * int(_DECIDED * denoiser.config["num_train_timesteps"])
