"""Images for many conditions and seeds, split over the processes of an accelerate launch.

Each image has its own CPU generator. It depends on its seed, its condition and the sampling, but not on the batch size
or the number of processes. Values may differ by 1/255 in a few pixels, because the order of a convolution's sums
depends on the batch size.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
import torch
from accelerate.utils import gather_object
from numpy.typing import NDArray
from tqdm.auto import tqdm

from lab_ddpm.data.conditions import Condition
from lab_ddpm.data.images import Images, read_image, to_uint8
from lab_ddpm.diffusion.pipeline import LabelConditionalPipeline
from lab_ddpm.diffusion.places import Places
from lab_ddpm.diffusion.sampling import (
    FINISHED,
    StateCallback,
    effective_guidance,
    image_seeds,
    sample,
    sampling_timesteps,
)
from lab_ddpm.diffusion.schedulers import scheduler_name
from lab_ddpm.generation.checkpoint import checkpoint_hash
from lab_ddpm.tools.errors import UserError
from lab_ddpm.tools.hardware import this_process


@dataclass(frozen=True)
class GeneratedImages:
    """Images, and how they were made.

    Attributes:
        images: (N, H, W, C) uint8.
        class_labels: The (N, num_labels) rows of their conditions, or (N, K, num_labels) for composed conditions.
        seeds: One per image.
        guidance_scale: The scale that was used; 1 for images without guidance.
        masks: (N, h, w) uint8 if the model has a layout: which object it put where, as in `layout.read_layout`.
    """

    images: Images
    class_labels: torch.Tensor
    seeds: Sequence[int]
    guidance_scale: float
    masks: NDArray[np.uint8] | None = None


def generate(
    pipeline: LabelConditionalPipeline,
    conditions: Sequence[Condition] | torch.Tensor,
    seeds: Sequence[int],
    batch_size: int = 64,
    progress: str | None = None,
    on_state: StateCallback | None = None,
    places: Places | None = None,
) -> GeneratedImages:
    """Generate one image per condition.

    Args:
        pipeline: Its sampling is used.
        conditions: N conditions, in which an empty one means the null label; or (N, num_labels) rows, or
            (N, K, num_labels) rows of composed conditions (`guidance`).
        seeds: N seeds, from `image_seeds` for example.
        batch_size: Images at a time on each process.
        progress: Title of a progress bar over the denoising steps; None for no bar.
        on_state: See `sampling.sample`; called for every batch of this process.
        places: Where the objects stand, see `sampling.sample`.

    Returns:
        The images in the order of the conditions, on every process.

    Raises:
        UserError: The conditions or the guidance do not fit the model, or the number of seeds is wrong.
    """
    denoiser, sampling, space = pipeline.denoiser, pipeline.sampling, pipeline.denoiser.space
    class_labels = denoiser.class_labels(conditions)
    if not 0 < len(class_labels) == len(seeds):
        raise UserError(f"there must be one seed per image, got {len(seeds)} for {len(class_labels)} conditions")
    with this_process().split_between_processes(list(range(len(class_labels)))) as mine:
        indices = cast(list[int], mine)
        batches = [indices[first : first + batch_size] for first in range(0, len(indices), batch_size)]
        images: list[Images] = []
        masks: list[NDArray[np.uint8]] = []
        with denoising_bar(len(batches) * len(sampling_timesteps(sampling, denoiser)), progress, on_state) as advance:
            for batch in batches:
                samples = sample(
                    denoiser,
                    class_labels[batch],
                    [seeds[index] for index in batch],
                    sampling,
                    on_state=advance,
                    places=None if places is None else places[batch],
                )
                images.extend(to_uint8(space.decode(samples)))
                if space.has_layout:
                    masks.extend(space.masks(samples)[:, 0].to(torch.uint8).cpu().numpy())
    return GeneratedImages(
        images=np.stack(gather_object(images)),
        class_labels=class_labels.cpu(),
        seeds=seeds,
        guidance_scale=effective_guidance(sampling, denoiser, class_labels),
        masks=np.stack(gather_object(masks)) if space.has_layout else None,
    )


def generate_seeds(
    pipeline: LabelConditionalPipeline, conditions: Sequence[Condition], num_seeds: int, progress: str | None = None
) -> GeneratedImages:
    """Generate a list of conditions once for each of the seeds 0 ... num_seeds - 1: num_seeds * N images."""
    seeds = [seed for run in range(num_seeds) for seed in image_seeds(run, len(conditions))]
    return generate(pipeline, [*conditions] * num_seeds, seeds, progress=progress)


def sampling_record(pipeline: LabelConditionalPipeline, generated: GeneratedImages | None = None) -> dict[str, object]:
    """The checkpoint and the sampling, for manifest.json and metrics.json. The guidance is taken from `generated`."""
    sampling, checkpoint = pipeline.sampling, pipeline.checkpoint
    return {
        "checkpoint": str(checkpoint) if checkpoint else None,
        "checkpoint_hash": checkpoint_hash(checkpoint) if checkpoint else None,
        "scheduler": scheduler_name(sampling.scheduler, pipeline.denoiser),
        "steps": sampling.steps,
        "guidance_scale": generated.guidance_scale if generated else sampling.guidance_scale,
    }


def open_image(pipeline: LabelConditionalPipeline, file: str | Path) -> Images:
    """Read an image file as (H, W, C) uint8, in the size and channels of the model's images.

    Raises:
        DataError: It is missing or broken.
    """
    config = pipeline.denoiser.config
    return read_image(file, config["sample_size"], pipeline.config["fit"], config["in_channels"])


@contextmanager
def denoising_bar(calls: int, title: str | None, on_state: StateCallback | None = None) -> Iterator[StateCallback]:
    """A progress bar over so many calls of the network, on the main process; without a title there is none.

    Yields the function to pass to `sampling.sample` as `on_state`, which calls the given one too.
    """
    with tqdm(total=calls, desc=title, unit="step", disable=title is None or not this_process().is_main_process) as bar:

        def advance(timestep: int, samples: torch.Tensor) -> torch.Tensor | None:
            bar.update(timestep != FINISHED)
            return on_state(timestep, samples) if on_state else None

        yield advance
