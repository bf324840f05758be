"""One object of an image added, removed or replaced, the rest left alone.

The image is read (`reading`), its layout is edited, and what lies around the edited object is sampled anew
while all the rest of the image, and the layout (`placing`), is known.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F

from lab_ddpm.data.conditions import Condition, check_condition
from lab_ddpm.data.images import Images, to_tensor
from lab_ddpm.diffusion.layout import make_layout
from lab_ddpm.diffusion.reverse_process import Known, image_seeds
from lab_ddpm.generation.placing import Place, known_until, layout_of_places
from lab_ddpm.generation.reading import read_images
from lab_ddpm.generation.sampler import Sampler
from lab_ddpm.tools.errors import UserError

# What is sampled anew around the object, as shares of the image's width: its edges, also on others, and its shadow,
# where nothing else stands.
_EDGE, _SHADOW = 4 / 64, 8 / 64


class NotEdited(UserError):
    """The model does not see the object that is to be edited, or the place of a new one is taken."""


@dataclass(frozen=True)
class Edited:
    """An edited image.

    Attributes:
        image: (H, W, C) uint8.
        condition: What it shows now.
        region: (H, W) bool: where it was sampled anew.
    """

    image: Images
    condition: Condition
    region: torch.Tensor


def remove_object(sampler: Sampler, image: Images, condition: Condition, label: str, seed: int = 0) -> Edited:
    """Take an object out of an (H, W, C) uint8 image of `condition`.

    Raises:
        NotEdited: The model does not see it in the image.
        UserError: The condition does not name it, or the model does not read images.
    """
    rest = _without(condition, label)
    sample, masks = _read(sampler, image, condition)
    old = _found(sampler, masks, label)
    return _repaint(sampler, sample, old, _uniform_layout(sampler, 0), rest, seed)


def replace_object(
    sampler: Sampler, image: Images, condition: Condition, label: str, new_label: str, seed: int = 0
) -> Edited:
    """Put another object in the place of one, of another colour, say; as `remove_object`."""
    rest = _without(condition, label)
    check_condition([*rest, new_label], sampler.labels)
    sample, masks = _read(sampler, image, condition)
    old, new = _found(sampler, masks, label), sampler.labels.index(new_label) + 1
    return _repaint(sampler, sample, old, _uniform_layout(sampler, new), (*rest, new_label), seed)


def add_object(sampler: Sampler, image: Images, condition: Condition, place: Place, seed: int = 0) -> Edited:
    """Put another object into an image.

    Raises:
        NotEdited: The place is that of another object.
        UserError: As `remove_object`, or no such place.
    """
    check_condition([*condition, place.label], sampler.labels)
    sample, masks = _read(sampler, image, condition)
    disc = layout_of_places(sampler.denoiser, [place])
    put = disc[:, -1:] > -1  # every patch that it touches
    for label in condition:
        shown = masks == sampler.labels.index(label) + 1
        if shown.any() and (shown & (disc[:, -1:] > 0)).sum() >= shown.sum() / 2:
            raise NotEdited(f"{place.x:g},{place.y:g} must be a free place, and the {label!r} stands there")
    return _repaint(sampler, sample, put, disc, (*condition, place.label), seed)


def _read(sampler: Sampler, image: Images, condition: Condition) -> tuple[torch.Tensor, torch.Tensor]:
    """The image as a sample, and the masks of its layout."""
    denoiser = sampler.denoiser
    sample = read_images(denoiser, to_tensor(image[None]), denoiser.class_labels([condition])).cpu()
    return sample, denoiser.space.masks(sample)


def _found(sampler: Sampler, masks: torch.Tensor, label: str) -> torch.Tensor:
    """(1, 1, h, w) bool: the patches in which the model sees the object."""
    found = masks == sampler.labels.index(label) + 1
    if not found.any():
        raise NotEdited(f"the model does not see a {label!r} in the image")
    return found


def _without(condition: Condition, label: str) -> Condition:
    if label not in condition:
        raise UserError(f"the object must be one of {list(condition)}, got {label!r}")
    return tuple(name for name in condition if name != label)


def _uniform_layout(sampler: Sampler, value: int) -> torch.Tensor:
    """(1, channels, 1, 1): the layout of a patch of one label (its place + 1), or of nothing (0)."""
    return make_layout(torch.full((1, 1, 1, 1), value), len(sampler.labels), patch_size=1)


def _repaint(
    sampler: Sampler,
    sample: torch.Tensor,
    changed: torch.Tensor,
    new_layout: torch.Tensor,
    condition: Condition,
    seed: int,
) -> Edited:
    """The sample with another layout in the (1, 1, h, w) patches that are `changed`, and drawn to go with it there."""
    space = sampler.denoiser.space
    layout = torch.where(changed, new_layout, space.layout(sample))
    others = (space.masks(sample) > 0) & ~changed
    region = _around(changed, _EDGE) | (_around(changed, _SHADOW) & ~others)
    values = space.encode(space.decode(sample), layout)
    until = torch.zeros_like(values, dtype=torch.long)
    of_image, of_layout = space.parts(until)
    of_image += region * sampler.denoiser.config["num_train_timesteps"]
    of_layout += known_until(sampler.denoiser, changed & (layout[:, -1:] > 0)) * region
    drawn = sampler.sample([condition], image_seeds(seed, 1), known=Known(values, until)).images[0]
    shown = region[0, 0].repeat_interleave(space.patch_size, 0).repeat_interleave(space.patch_size, 1)
    return Edited(drawn, condition, shown)


def _around(patches: torch.Tensor, share: float) -> torch.Tensor:
    """(1, 1, h, w) bool: the patches, and what is not further from them than a share of the width."""
    margin = max(1, round(share * patches.shape[-1]))
    return F.max_pool2d(patches.float(), 2 * margin + 1, stride=1, padding=margin) > 0
