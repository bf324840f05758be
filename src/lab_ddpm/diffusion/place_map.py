"""What the network gets for each position: where the objects stand, and their outlines.

    prediction = unet([x_t, place_map], t, c)

A place map shows the outlines of the objects in their places (`outlines`), without noise. It is zero where the
network gets no places. More channels, such as depth, are joined after these in `make_place_map`.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F

from lab_ddpm.diffusion.denoiser import Denoiser
from lab_ddpm.diffusion.places import Places, num_in_front
from lab_ddpm.diffusion.sample_space import SampleSpace
from lab_ddpm.tools.errors import UserError


def place_map_when_sampling(
    denoiser: Denoiser, class_labels: torch.Tensor, seeds: Sequence[int], places: Places | None, is_started: bool
) -> torch.Tensor | None:
    """The (B, place_map_channels, H / p, W / p) place maps of drawn samples; None for a model without a layout.

    Args:
        denoiser, class_labels, seeds, places: See `sampling.sample`.
        is_started: Whether the samples are there already, with their objects.

    Raises:
        UserError: Places for a model without a layout, or samples without any for a model that always had some.
    """
    if denoiser.placer is None:
        if places is not None:
            raise UserError("only a model with a layout can take places")
        return None
    if places is not None:
        return _with_outlines(denoiser, places.to(denoiser.device), seeds)
    wanted = class_labels if class_labels.ndim == 2 else class_labels.amax(dim=1).clamp(min=0)
    if is_started:
        wanted = torch.zeros_like(wanted)
    is_given = wanted.any(dim=1) & ((wanted == 0) | (wanted == 1)).all(dim=1)
    if not (is_given.all() or denoiser.config["places_dropout"]):
        raise UserError("with `places_dropout` 0, each image needs one plain condition and must start from pure noise")
    return is_given[:, None, None, None] * _with_outlines(denoiser, denoiser.placer.draw(wanted, seeds), seeds)


def _with_outlines(denoiser: Denoiser, places: Places, seeds: Sequence[int]) -> torch.Tensor:
    """The place maps of places. The seeds decide outlines that are not decided."""
    assert denoiser.placer is not None
    outlines = denoiser.placer.outlines
    places = places if places.outlines is not None else outlines.draw(places, seeds)
    masks = outlines.masks(places)
    layout = denoiser.space.make_layout(masks)
    assert layout is not None
    return make_place_map(denoiser.space, places, masks, layout)


def make_place_map(space: SampleSpace, places: Places, masks: torch.Tensor, layout: torch.Tensor) -> torch.Tensor:
    """The place maps of places, with the masks of what is seen of the objects and their layout, see `SampleSpace`.

    A place map has the layout, and a value for each pixel of the patch: -1 where no object is, or
    1 / (1 + the number of objects in front). Where the edge of an object crosses a pixel, it is a mean.
    """
    nearness = torch.zeros(len(masks), space.num_labels + 1, device=masks.device)
    nearness.scatter_(1, places.labels, 1 / (1 + num_in_front(places).float()))
    nearness[:, 0] = -1
    pixels = F.adaptive_avg_pool2d(nearness.gather(1, masks.flatten(1).long()).reshape(masks.shape), space.sample_size)
    return torch.cat([layout, F.pixel_unshuffle(pixels, space.patch_size)], dim=1)
