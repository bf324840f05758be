"""From conditions to uint8 pictures: one seed per picture, split over the processes of an accelerate launch.

A picture's random numbers come from its own CPU generator, so it depends on its seed, its condition and the
sampler, and not on the batch size or the number of processes: at most by a rounding of 1/255 here and there, since
convolutions of other batch sizes sum in another order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import cast

import numpy as np
import torch
from accelerate import PartialState
from accelerate.utils import gather_object
from tqdm.auto import tqdm

from lab_ddpm.images import Pictures, to_uint8
from lab_ddpm.pipeline import LabelConditionalPipeline
from lab_ddpm.schedulers import sampling_timesteps


def picture_seeds(seed: int, count: int) -> list[int]:
    """Seeds of `count` pictures of run `seed`: 32-bit hashes of (seed, index).

    Hashed because torch's CPU generator ignores all but the low 32 bits, and because seed + index would give
    neighbouring runs the same noise.
    """
    return [int(np.random.SeedSequence((seed, index)).generate_state(1)[0]) for index in range(count)]


def generate(
    pipeline: LabelConditionalPipeline,
    class_labels: torch.Tensor,
    seeds: Sequence[int],
    num_inference_steps: int,
    guidance_scale: float | None = None,
    batch_size: int = 64,
    progress: str | None = None,
    callback: Callable[[int, torch.Tensor], None] | None = None,
) -> Pictures:
    """Sample one picture per row of labels.

    Args:
        pipeline: With the scheduler to sample with already in place.
        class_labels: (N, num_labels) multi-hot.
        seeds: N seeds, one per picture.
        num_inference_steps: Denoising steps.
        guidance_scale: 1 is unguided; None takes the pipeline's own.
        batch_size: Pictures at a time on each process.
        progress: Title of a progress bar over the denoising steps of all batches; None for no bar.
        callback: As in `LabelConditionalPipeline.__call__`, for every batch of this process.

    Returns:
        (N, S, S, C) uint8 pictures in the order of the rows, on every process.
    """
    state = PartialState()
    calls = len(sampling_timesteps(pipeline.scheduler, num_inference_steps))
    with state.split_between_processes(list(range(len(class_labels)))) as mine:
        batches = list(_chunks(cast(list[int], mine), batch_size))
        pictures: list[Pictures] = []
        with denoising_bar(len(batches) * calls, progress, callback) as advance:
            for batch in batches:
                images = pipeline(
                    class_labels[batch],
                    num_inference_steps=num_inference_steps,
                    guidance_scale=guidance_scale,
                    generator=[torch.Generator().manual_seed(seeds[index]) for index in batch],
                    callback=advance,
                )
                pictures.extend(to_uint8(images))
    return np.stack(gather_object(pictures))


@contextmanager
def denoising_bar(
    calls: int, title: str | None, callback: Callable[[int, torch.Tensor], None] | None = None
) -> Iterator[Callable[[int, torch.Tensor], None]]:
    """A progress bar over calls of the network.

    Args:
        calls: How many there will be.
        title: Of the bar; None for no bar. Only the main process shows it.
        callback: Called besides.

    Yields:
        A callback for `LabelConditionalPipeline.__call__`.
    """
    with tqdm(total=calls, desc=title, unit="step", disable=title is None or not PartialState().is_main_process) as bar:

        def advance(timestep: int, images: torch.Tensor) -> None:
            bar.update(timestep >= 0)
            if callback is not None:
                callback(timestep, images)

        yield advance


def _chunks(indices: list[int], size: int) -> Iterator[list[int]]:
    for start in range(0, len(indices), size):
        yield indices[start : start + size]
