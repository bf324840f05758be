"""Let a model check the images that it drew, and draw again if it sees too few or too many objects.

The model reads the finished image (`reading`), knowing its condition. It does not use the layout that was drawn with
the image, and no classifier takes part. A score of such images is the best of several tries: do not compare it with a
score of single draws.
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
from lab_ddpm.diffusion.pipeline import LabelConditionalPipeline
from lab_ddpm.diffusion.sampling import image_seeds
from lab_ddpm.generation.generate import GeneratedImages, generate
from lab_ddpm.generation.reading import check_reads, read_images
from lab_ddpm.tools.errors import UserError, check_at_least

_SMALLEST = 2  # patches of an object


def generate_checked(
    pipeline: LabelConditionalPipeline,
    conditions: Sequence[Condition],
    seeds: Sequence[int],
    tries: int,
    progress: str | None = None,
) -> GeneratedImages:
    """Generate one image per condition; generate images with mistakes again from other seeds.

    Args:
        pipeline: A pipeline whose model reads images.
        conditions: N conditions.
        seeds: N seeds for the first try.
        tries: How often an image is drawn at most. The try with the fewest mistakes is kept.
        progress: As in `generate`.

    Returns:
        The images, with the seed that each was drawn with, and without masks.

    Raises:
        UserError: The model does not read images, `tries` is below 1, or a condition is empty.
    """
    check_at_least("tries", tries, 1)
    if not all(conditions):
        raise UserError("`tries` needs a condition for every image")
    check_reads(pipeline.denoiser)
    kept = generate(pipeline, conditions, seeds, progress=progress)
    used, wrong = list(seeds), _agreed(num_wrong(pipeline, kept.images, kept.class_labels))
    for attempt in range(1, tries):
        places = [place for place, count in enumerate(wrong) if count]
        if not places:
            break
        again = [image_seeds(seeds[place], tries)[attempt] for place in places]
        title = progress and f"{progress}, try {attempt + 1}"
        drawn = generate(pipeline, [conditions[place] for place in places], again, progress=title)
        left = _agreed(num_wrong(pipeline, drawn.images, drawn.class_labels))
        for row, place in enumerate(places):
            if left[row] < wrong[place]:
                used[place], wrong[place] = again[row], left[row]
                kept.images[place] = drawn.images[row]
    return dataclasses.replace(kept, seeds=used, masks=None)


def _agreed(counts: list[int]) -> list[int]:
    """The counts of the main process, because another device may read a borderline case differently."""
    return broadcast_object_list([counts])[0]


def num_wrong(pipeline: LabelConditionalPipeline, images: Images, class_labels: torch.Tensor) -> list[int]:
    """How many mistakes the model sees in each of (N, H, W, C) uint8 images: missing labels and extra objects."""
    denoiser = pipeline.denoiser
    masks = denoiser.space.masks(read_images(denoiser, to_tensor(images), class_labels)).cpu()
    asked = class_labels.cpu().bool()
    missing = (asked & ~labels_in(masks, len(denoiser.labels))).sum(dim=1)
    too_many = torch.from_numpy(count_objects(masks[:, 0].numpy())) - asked.sum(dim=1)
    return (missing + too_many.clamp(min=0)).tolist()


def count_objects(masks: NDArray[np.integer[Any]]) -> NDArray[np.int64]:
    """The number of objects in each of (B, h, w) masks. Two objects of one label count as two if they do not touch.

    A single patch does not count: where two objects meet, the average of their codes may be the code of a third object.
    """
    counts = np.zeros(len(masks), dtype=np.int64)
    for index, mask in enumerate(masks):
        for label in np.unique(mask[mask > 0]):
            pieces, _ = cast(tuple[NDArray[np.int32], int], ndimage.label(mask == label))
            counts[index] += (np.bincount(pieces.ravel())[1:] >= _SMALLEST).sum()
    return counts
