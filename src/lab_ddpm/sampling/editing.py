"""One object of a picture added, removed or replaced, the rest left alone.

The picture is read (`Denoiser.read`), its layout is edited, and what lies around the edited object is sampled anew
while all the rest of the picture, and the whole layout, is known.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F

from lab_ddpm.data.conditions import Condition, check_condition
from lab_ddpm.data.images import Pictures, to_tensor
from lab_ddpm.diffusion.layout import make_layout
from lab_ddpm.diffusion.pipeline import Known
from lab_ddpm.sampling.placing import Place, place_masks
from lab_ddpm.sampling.sampler import Sampler
from lab_ddpm.tools.errors import UserError

_MARGIN = 1  # patches around the object that are sampled anew too: its edges and its shadow


@dataclass(frozen=True)
class Edited:
    """An edited picture.

    Attributes:
        picture: (S, S, C) uint8.
        condition: What it shows now.
        region: (S, S) bool: where it was sampled anew.
    """

    picture: Pictures
    condition: Condition
    region: torch.Tensor


def remove_object(sampler: Sampler, picture: Pictures, condition: Condition, label: str, seed: int = 0) -> Edited:
    """Take an object out of an (S, S, C) uint8 picture of `condition`.

    Raises:
        UserError: The condition does not name it; the model does not see it in the picture, or does not read pictures.
    """
    rest = _without(condition, label)
    masks = _read(sampler, picture, condition)
    edited = masks * (masks != _found(sampler, masks, label))
    return _repaint(sampler, picture, edited, masks, rest, seed)


def replace_object(
    sampler: Sampler, picture: Pictures, condition: Condition, label: str, new_label: str, seed: int = 0
) -> Edited:
    """Put another object in the place of one, of another colour, say; as `remove_object`."""
    rest = _without(condition, label)
    check_condition([*rest, new_label], sampler.labels)
    masks = _read(sampler, picture, condition)
    edited = torch.where(masks == _found(sampler, masks, label), sampler.labels.index(new_label) + 1, masks)
    return _repaint(sampler, picture, edited, masks, (*rest, new_label), seed)


def add_object(sampler: Sampler, picture: Pictures, condition: Condition, place: Place, seed: int = 0) -> Edited:
    """Put another object into a picture; as `remove_object`."""
    check_condition([*condition, place.label], sampler.labels)
    masks = _read(sampler, picture, condition)
    patch_size = sampler.denoiser.config["patch_size"]
    discs = F.max_pool2d(place_masks(sampler.denoiser, [place])[None].float(), patch_size).long()
    return _repaint(sampler, picture, torch.where(discs > 0, discs, masks), masks, (*condition, place.label), seed)


def _read(sampler: Sampler, picture: Pictures, condition: Condition) -> torch.Tensor:
    denoiser = sampler.denoiser
    samples = denoiser.read(to_tensor(picture[None]), denoiser.class_labels([condition]))
    return denoiser.space.masks(samples).cpu()


def _found(sampler: Sampler, masks: torch.Tensor, label: str) -> int:
    value = sampler.labels.index(label) + 1
    if not (masks == value).any():
        raise UserError(f"the model does not see a {label!r} in the picture")
    return value


def _without(condition: Condition, label: str) -> Condition:
    if label not in condition:
        raise UserError(f"the object must be one of {list(condition)}, got {label!r}")
    return tuple(name for name in condition if name != label)


def _repaint(
    sampler: Sampler, picture: Pictures, masks: torch.Tensor, before: torch.Tensor, condition: Condition, seed: int
) -> Edited:
    space = sampler.denoiser.space
    changed = (masks != before).float()
    region = F.max_pool2d(changed, 2 * _MARGIN + 1, stride=1, padding=_MARGIN) > 0
    layout = make_layout(masks, len(sampler.labels), patch_size=1)
    values = space.encode(to_tensor(picture[None]), layout)
    where = torch.ones_like(values, dtype=torch.bool)
    space.parts(where)[0].logical_and_(~region)
    drawn = sampler.sample([condition], [seed], known=Known(values, where)).pictures[0]
    shown = region[0, 0].repeat_interleave(space.patch_size, 0).repeat_interleave(space.patch_size, 1)
    return Edited(drawn, condition, shown)
