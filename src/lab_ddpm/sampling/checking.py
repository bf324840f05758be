"""A model that looks at what it drew, and draws again where it does not see what was asked for.

What it sees is read off the finished picture (`Denoiser.read`), knowing what was asked for; it is not the layout that
was drawn with it. No classifier takes part. A score of such pictures is one of several tries, and never to be compared
with one of single draws.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import torch
from accelerate.utils import broadcast_object_list

from lab_ddpm.data.conditions import Condition
from lab_ddpm.data.images import Pictures, to_tensor
from lab_ddpm.diffusion.layout import labels_in
from lab_ddpm.diffusion.pipeline import picture_seeds
from lab_ddpm.sampling.sampler import Sampler, Samples
from lab_ddpm.tools.errors import check_at_least


def sample_checked(
    sampler: Sampler, conditions: Sequence[Condition], seeds: Sequence[int], tries: int, progress: str | None = None
) -> Samples:
    """Sample one picture per condition, and those that lack something again, with other seeds.

    Args:
        sampler: Of a model that reads pictures.
        conditions: N conditions.
        seeds: N seeds, of the first try.
        tries: At most so many draws of a picture; of several that lack something the one that lacks least is kept.
        progress: As in `Sampler.sample`.

    Returns:
        The pictures, with the seed that each was drawn with, and without masks.

    Raises:
        UserError: The model does not read pictures, or `tries` is below 1.
    """
    check_at_least("tries", tries, 1)
    sampler.denoiser.check_reads()
    kept = sampler.sample(conditions, seeds, progress=progress)
    used, lacking = list(seeds), _agreed(num_lacking(sampler, kept.pictures, kept.class_labels))
    for attempt in range(1, tries):
        places = [place for place, count in enumerate(lacking) if count]
        if not places:
            break
        again = [picture_seeds(seeds[place], tries)[attempt] for place in places]
        title = progress and f"{progress}, try {attempt + 1}"
        drawn = sampler.sample([conditions[place] for place in places], again, progress=title)
        left = _agreed(num_lacking(sampler, drawn.pictures, drawn.class_labels))
        for row, place in enumerate(places):
            if left[row] < lacking[place]:
                used[place], lacking[place] = again[row], left[row]
                kept.pictures[place] = drawn.pictures[row]
    return dataclasses.replace(kept, seeds=used, masks=None)


def _agreed(counts: list[int]) -> list[int]:
    """What the main process counted: another device may read a picture at the edge in another way."""
    return broadcast_object_list([counts])[0]


def num_lacking(sampler: Sampler, pictures: Pictures, class_labels: torch.Tensor) -> list[int]:
    """How many of their labels the model does not see in each of (N, H, W, C) uint8 pictures."""
    denoiser = sampler.denoiser
    masks = denoiser.space.masks(denoiser.read(to_tensor(pictures), class_labels))
    return (class_labels.bool() & ~labels_in(masks, len(denoiser.labels)).cpu()).sum(dim=1).tolist()
