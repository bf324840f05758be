"""A model that looks at what it drew, and draws again where it sees less than was asked for, or more objects.

What it sees is read off the finished image (`reading`), knowing what was asked for; it is not the layout that
was drawn with it. No classifier takes part. A score of such images is one of several tries, and never to be compared
with one of single draws.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import torch
from accelerate.utils import broadcast_object_list
from numpy.typing import NDArray
from scipy import ndimage

from lab_ddpm.data.conditions import Condition
from lab_ddpm.data.images import Images, to_tensor
from lab_ddpm.diffusion.layout import labels_in
from lab_ddpm.diffusion.reverse_process import image_seeds
from lab_ddpm.generation.reading import check_reads, read_images
from lab_ddpm.generation.sampler import Sampler, Samples
from lab_ddpm.tools.errors import UserError, check_at_least

_SMALLEST = 2  # patches of an object


def sample_checked(
    sampler: Sampler, conditions: Sequence[Condition], seeds: Sequence[int], tries: int, progress: str | None = None
) -> Samples:
    """Sample one image per condition, and those in which something is wrong again, with other seeds.

    Args:
        sampler: Of a model that reads images.
        conditions: N conditions.
        seeds: N seeds, of the first try.
        tries: At most so many draws of an image; of several the one with the fewest mistakes is kept.
        progress: As in `Sampler.sample`.

    Returns:
        The images, with the seed that each was drawn with, and without masks.

    Raises:
        UserError: The model does not read images, `tries` is below 1, or a condition is empty.
    """
    check_at_least("tries", tries, 1)
    if not all(conditions):
        raise UserError("`tries` needs conditions: under none of them no object is a mistake")
    check_reads(sampler.denoiser)
    kept = sampler.sample(conditions, seeds, progress=progress)
    used, wrong = list(seeds), _agreed(num_wrong(sampler, kept.images, kept.class_labels))
    for attempt in range(1, tries):
        places = [place for place, count in enumerate(wrong) if count]
        if not places:
            break
        again = [image_seeds(seeds[place], tries)[attempt] for place in places]
        title = progress and f"{progress}, try {attempt + 1}"
        drawn = sampler.sample([conditions[place] for place in places], again, progress=title)
        left = _agreed(num_wrong(sampler, drawn.images, drawn.class_labels))
        for row, place in enumerate(places):
            if left[row] < wrong[place]:
                used[place], wrong[place] = again[row], left[row]
                kept.images[place] = drawn.images[row]
    return dataclasses.replace(kept, seeds=used, masks=None)


def _agreed(counts: list[int]) -> list[int]:
    """What the main process counted: another device may read an image at the edge in another way."""
    return broadcast_object_list([counts])[0]


def num_wrong(sampler: Sampler, images: Images, class_labels: torch.Tensor) -> list[int]:
    """Mistakes that the model sees in each of (N, H, W, C) uint8 images: labels that lack, objects too many."""
    denoiser = sampler.denoiser
    masks = denoiser.space.masks(read_images(denoiser, to_tensor(images), class_labels)).cpu()
    asked = class_labels.cpu().bool()
    lacking = (asked & ~labels_in(masks, len(denoiser.labels))).sum(dim=1)
    too_many = torch.from_numpy(count_objects(masks[:, 0].numpy())) - asked.sum(dim=1)
    return (lacking + too_many.clamp(min=0)).tolist()


def count_objects(masks: NDArray[np.integer[Any]]) -> NDArray[np.int64]:
    """How many things stand in each of (B, h, w) masks, those of one label apart where they do not touch.

    One patch alone counts nothing: where two objects meet, the average of their codes may be that of a third one.
    """
    counts = np.zeros(len(masks), dtype=np.int64)
    for index, mask in enumerate(masks):
        for place in np.unique(mask[mask > 0]):
            pieces, _ = cast(tuple[NDArray[np.int32], int], ndimage.label(mask == place))
            counts[index] += (np.bincount(pieces.ravel())[1:] >= _SMALLEST).sum()
    return counts
