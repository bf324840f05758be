"""Add, remove or replace one object in an image; the rest of the image stays the same.

The model reads the image (`reading`), its layout is edited, and the surroundings of the edited object are sampled
again. The rest of the image and the layout (`placing`) are held fixed.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F

from lab_ddpm.data.conditions import Condition, check_condition
from lab_ddpm.data.images import Images, to_tensor
from lab_ddpm.diffusion.denoiser import Denoiser
from lab_ddpm.diffusion.layout import make_layout
from lab_ddpm.diffusion.pipeline import LabelConditionalPipeline
from lab_ddpm.diffusion.sampling import Known, image_seeds
from lab_ddpm.generation.generate import generate
from lab_ddpm.generation.placing import Place, known_until, layout_of_places
from lab_ddpm.generation.reading import read_images
from lab_ddpm.tools.errors import UserError

# How far around the object the image is sampled again, as shares of its width: for the edges, even on other objects,
# and for the shadow, where no other object stands.
_EDGE, _SHADOW = 4 / 64, 8 / 64


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
        UserError: The condition does not name the object, or the model does not read images.
    """
    rest = _without(condition, label)
    sample, masks = _read(pipeline.denoiser, image, condition)
    old = _found(pipeline.denoiser, masks, label)
    return _repaint(pipeline, sample, old, _uniform_layout(pipeline.denoiser, 0), rest, seed)


def replace_object(
    pipeline: LabelConditionalPipeline, image: Images, condition: Condition, label: str, new_label: str, seed: int = 0
) -> Edited:
    """Replace an object by another one, for example of another colour. Raises the errors of `remove_object`."""
    denoiser = pipeline.denoiser
    rest = _without(condition, label)
    check_condition([*rest, new_label], denoiser.labels)
    sample, masks = _read(denoiser, image, condition)
    old, new = _found(denoiser, masks, label), denoiser.labels.index(new_label) + 1
    return _repaint(pipeline, sample, old, _uniform_layout(denoiser, new), (*rest, new_label), seed)


def add_object(
    pipeline: LabelConditionalPipeline, image: Images, condition: Condition, place: Place, seed: int = 0
) -> Edited:
    """Add an object to an image.

    Raises:
        NotEdited: Another object already stands there.
        UserError: As for `remove_object`, or the place is outside the image.
    """
    denoiser = pipeline.denoiser
    check_condition([*condition, place.label], denoiser.labels)
    sample, masks = _read(denoiser, image, condition)
    disc = layout_of_places(denoiser, [place])
    touched = disc[:, -1:] > -1
    for label in condition:
        shown = masks == denoiser.labels.index(label) + 1
        if shown.any() and (shown & (disc[:, -1:] > 0)).sum() >= shown.sum() / 2:
            raise NotEdited(f"{place.x:g},{place.y:g} must be a free place, but the {label!r} stands there")
    return _repaint(pipeline, sample, touched, disc, (*condition, place.label), seed)


def _read(denoiser: Denoiser, image: Images, condition: Condition) -> tuple[torch.Tensor, torch.Tensor]:
    """The image as a sample, and the masks of its layout."""
    sample = read_images(denoiser, to_tensor(image[None]), denoiser.class_labels([condition])).cpu()
    return sample, denoiser.space.masks(sample)


def _found(denoiser: Denoiser, masks: torch.Tensor, label: str) -> torch.Tensor:
    """(1, 1, h, w) bool: the patches in which the model sees the object."""
    found = masks == denoiser.labels.index(label) + 1
    if not found.any():
        raise NotEdited(f"the model does not see a {label!r} in the image")
    return found


def _without(condition: Condition, label: str) -> Condition:
    if label not in condition:
        raise UserError(f"the object must be one of {list(condition)}, got {label!r}")
    return tuple(name for name in condition if name != label)


def _uniform_layout(denoiser: Denoiser, value: int) -> torch.Tensor:
    """(1, channels, 1, 1): the layout of a patch that shows one label (its index + 1), or no object (0)."""
    return make_layout(torch.full((1, 1, 1, 1), value), len(denoiser.labels), patch_size=1)


def _repaint(
    pipeline: LabelConditionalPipeline,
    sample: torch.Tensor,
    changed: torch.Tensor,
    new_layout: torch.Tensor,
    condition: Condition,
    seed: int,
) -> Edited:
    """Give the `changed` (1, 1, h, w) patches another layout, and sample the image around them again."""
    denoiser, space = pipeline.denoiser, pipeline.denoiser.space
    layout = torch.where(changed, new_layout, space.layout(sample))
    others = (space.masks(sample) > 0) & ~changed
    region = _around(changed, _EDGE) | (_around(changed, _SHADOW) & ~others)
    values = space.encode(space.decode(sample), layout)
    until = torch.zeros_like(values, dtype=torch.long)
    of_image, of_layout = space.parts(until)
    of_image += region * denoiser.config["num_train_timesteps"]
    of_layout += known_until(denoiser, changed & (layout[:, -1:] > 0)) * region
    drawn = generate(pipeline, [condition], image_seeds(seed, 1), known=Known(values, until)).images[0]
    pixels = region[0, 0].repeat_interleave(space.patch_size, 0).repeat_interleave(space.patch_size, 1)
    return Edited(drawn, condition, pixels)


def _around(patches: torch.Tensor, share: float) -> torch.Tensor:
    """(1, 1, h, w) bool: the patches, and those nearer to them than a share of the width."""
    margin = max(1, round(share * patches.shape[-1]))
    return F.max_pool2d(patches.float(), 2 * margin + 1, stride=1, padding=margin) > 0
