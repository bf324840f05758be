"""A pipeline at work: conditions and seeds to uint8 images, split over the processes of an accelerate launch.

An image's random numbers come from its own CPU generator, so it depends on its seed, its condition and the
sampler, and not on the batch size or the number of processes: at most by a rounding of 1/255 here and there, since
convolutions of other batch sizes sum in another order.
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
from lab_ddpm.data.image_cache import ImageDataset
from lab_ddpm.data.images import KINDS, Images, read_image, to_uint8
from lab_ddpm.diffusion.denoiser import Denoiser
from lab_ddpm.diffusion.pipeline import LabelConditionalPipeline
from lab_ddpm.diffusion.reverse_process import FINISHED, Known, StateCallback, image_seeds
from lab_ddpm.diffusion.schedulers import Scheduler, make_scheduler, sampling_timesteps, scheduler_name
from lab_ddpm.generation.checkpoint import checkpoint_hash, find_checkpoint, load_pipeline
from lab_ddpm.generation.onnx_runtime import can_run_onnx, open_onnx
from lab_ddpm.tools.errors import UserError, check_choice, check_positive, check_share
from lab_ddpm.tools.hardware import this_process

RUNTIMES = ("auto", "torch", "onnx")


@dataclass(frozen=True)
class Samples:
    """Images, and how they were made.

    Attributes:
        images: (N, H, W, C) uint8.
        class_labels: (N, num_labels) that they were sampled under, or (N, K, num_labels) of composed conditions.
        seeds: One per image.
        guidance_scale: 1 where they are not guided.
        masks: (N, h, w) uint8 of a model with a layout: what it believes stands where, as in `layout.read_layout`.
    """

    images: Images
    class_labels: torch.Tensor
    seeds: Sequence[int]
    guidance_scale: float
    masks: NDArray[np.uint8] | None = None


class Sampler:
    """A pipeline with a scheduler, a number of steps and a guidance.

    Args:
        pipeline: On the device to sample on.
        scheduler: As in `schedulers.make_scheduler`; None takes the pipeline's own.
        steps: Denoising steps; None takes the pipeline's own.
        guidance_scale: 1 is unguided; None takes the pipeline's own where there is a condition.
        guidance_stop: See `LabelConditionalPipeline`; None takes the pipeline's own.
        checkpoint: The folder that the pipeline was loaded from.

    Raises:
        UserError: An unknown scheduler, or a number out of range.
    """

    def __init__(
        self,
        pipeline: LabelConditionalPipeline,
        scheduler: str | Scheduler = None,
        steps: int | None = None,
        guidance_scale: float | None = None,
        guidance_stop: float | None = None,
        checkpoint: Path | None = None,
    ) -> None:
        self.pipeline, self.guidance_scale, self.checkpoint = pipeline, guidance_scale, checkpoint
        self.guidance_stop: float = pipeline.config["guidance_stop"] if guidance_stop is None else guidance_stop
        check_share("guidance_stop", self.guidance_stop)
        if guidance_scale is not None:
            check_positive("guidance_scale", guidance_scale)
        self.steps: int = pipeline.config["num_inference_steps"] if steps is None else steps
        self.diffusers_scheduler = make_scheduler(
            pipeline.scheduler if scheduler is None else scheduler, pipeline.denoiser
        )
        self.scheduler = scheduler_name(self.diffusers_scheduler, pipeline.denoiser)
        self.timesteps = sampling_timesteps(self.diffusers_scheduler, self.steps)

    def with_steps(self, steps: int) -> Sampler:
        """The same, with another number of denoising steps."""
        guidance = self.guidance_scale, self.guidance_stop
        return Sampler(self.pipeline, self.diffusers_scheduler, steps, *guidance, self.checkpoint)

    @property
    def denoiser(self) -> Denoiser:
        """The pipeline's model."""
        return self.pipeline.denoiser

    @property
    def labels(self) -> tuple[str, ...]:
        """What the model was trained on; empty for an unconditional one."""
        return self.denoiser.labels

    def guidance(self, class_labels: torch.Tensor) -> float:
        """The guidance scale for (N, num_labels) rows, see `Denoiser.check_guidance`."""
        return self.denoiser.check_guidance(class_labels, self.guidance_scale, self.pipeline.config["guidance_scale"])

    def sample(
        self,
        conditions: Sequence[Condition] | torch.Tensor,
        seeds: Sequence[int],
        batch_size: int = 64,
        progress: str | None = None,
        on_state: StateCallback | None = None,
        known: Known | None = None,
    ) -> Samples:
        """Sample one image per condition.

        Args:
            conditions: N conditions, empty ones for the null label; or (N, num_labels) rows, or (N, K, num_labels) of
                composed conditions (`guidance`).
            seeds: N seeds, one per image; `image_seeds` makes them.
            batch_size: Images at a time on each process.
            progress: Title of a progress bar over the denoising steps of all batches; None for no bar.
            on_state: As in `reverse_process.StateCallback`, for every batch of this process.
            known: What is known of the N samples.

        Returns:
            The images in the order of the conditions, on every process.

        Raises:
            UserError: Conditions or a guidance that do not fit the model.
        """
        rows = self.denoiser.class_labels(conditions)
        if len(rows) != len(seeds):
            raise UserError(f"there must be one seed per image, got {len(seeds)} for {len(rows)} conditions")
        if not len(rows):
            raise UserError("there must be a condition, got none")
        guidance = self.guidance(rows)
        state, space = this_process(), self.denoiser.space
        with state.split_between_processes(list(range(len(rows)))) as mine:
            batches = list(_chunks(cast(list[int], mine), batch_size))
            drawn: list[tuple[Images, NDArray[np.uint8]]] = []  # images and masks
            with denoising_bar(len(batches) * len(self.timesteps), progress, on_state) as advance:
                for batch in batches:
                    generators = [torch.Generator().manual_seed(seeds[index]) for index in batch]
                    samples = self.pipeline.sample(
                        rows[batch],
                        generators,
                        self.steps,
                        guidance,
                        self.diffusers_scheduler,
                        known=None if known is None else known[batch],
                        guidance_stop=self.guidance_stop,
                        on_state=advance,
                    )
                    masks = space.masks(samples)[:, 0].to(torch.uint8) if space.has_layout else samples[:, :0]
                    drawn.extend(zip(to_uint8(space.decode(samples)), masks.cpu().numpy(), strict=True))
        images, masks = (np.stack(part) for part in zip(*gather_object(drawn), strict=True))
        return Samples(images, rows.cpu(), seeds, guidance, masks if space.has_layout else None)

    def sample_seeds(self, conditions: Sequence[Condition], num_seeds: int, progress: str | None = None) -> Samples:
        """Sample a list once for each of the seeds 0 ... num_seeds - 1: num_seeds * N images, seed by seed."""
        seeds = [seed for run in range(num_seeds) for seed in image_seeds(run, len(conditions))]
        return self.sample([*conditions] * num_seeds, seeds, progress=progress)

    def open_image(self, file: str | Path) -> Images:
        """An image file as (H, W, C) uint8, as the model's own images.

        Raises:
            DataError: It is missing or broken.
        """
        config = self.denoiser.config
        return read_image(file, config["sample_size"], self.pipeline.config["fit"], config["in_channels"])

    def check_data(self, images: ImageDataset) -> None:
        """Raise `UserError` unless the model makes images like these, under the same labels if under any."""
        channels, own = images.images.shape[-1], self.denoiser.config["in_channels"]
        if channels != own:
            raise UserError(f"{self.checkpoint} makes {KINDS[own]} images, and those to compare are {KINDS[channels]}")
        if self.labels and images.labels and self.labels != images.labels:
            raise UserError(f"{self.checkpoint} was trained on other labels than these images have")

    def settings(self, samples: Samples | None = None) -> dict[str, object]:
        """For manifest.json and metrics.json: the checkpoint, the scheduler and the guidance (that of `samples`)."""
        own = self.pipeline.config["guidance_scale"] if self.guidance_scale is None else self.guidance_scale
        return {
            "checkpoint": str(self.checkpoint) if self.checkpoint else None,
            "checkpoint_hash": checkpoint_hash(self.checkpoint) if self.checkpoint else None,
            "scheduler": self.scheduler,
            "steps": self.steps,
            "guidance_scale": samples.guidance_scale if samples else own,
            "guidance_stop": self.guidance_stop,
        }


def open_sampler(
    checkpoint: Path | None,
    scheduler: str | None = None,
    steps: int | None = None,
    guidance_scale: float | None = None,
    guidance_stop: float | None = None,
    runtime: str = "torch",
) -> Sampler:
    """Load a checkpoint and put the sampler in; say which checkpoint it is.

    Args:
        checkpoint: Folder of a pipeline; None takes the default one.
        scheduler, steps, guidance_scale, guidance_stop: As in `Sampler`.
        runtime: What runs the network: "torch"; "onnx", from the file of `onnx_runtime.export_onnx`; or "auto", which
            is "onnx" on a CPU where the file is there and ONNX Runtime is installed.

    Raises:
        UserError: An unknown scheduler or runtime, or a number out of range; ONNX Runtime is not there.
        DataError: No such checkpoint, or a broken one.
    """
    check_choice("runtime", runtime, RUNTIMES)
    checkpoint = find_checkpoint(checkpoint)
    pipeline = load_pipeline(checkpoint).to(this_process().device)
    sampler = Sampler(pipeline, scheduler, steps, guidance_scale, guidance_stop, checkpoint)
    if runtime == "onnx" or (runtime == "auto" and can_run_onnx(checkpoint, pipeline.device)):
        pipeline.denoiser.runtime = open_onnx(checkpoint)
    if this_process().is_main_process:
        print(f"checkpoint: {checkpoint}" + (", on ONNX Runtime" if pipeline.denoiser.runtime else ""))
    return sampler


@contextmanager
def denoising_bar(calls: int, title: str | None, on_state: StateCallback | None = None) -> Iterator[StateCallback]:
    """A progress bar over calls of the network.

    Args:
        calls: How many there will be.
        title: Of the bar; None for no bar. Only the main process shows it.
        on_state: Called besides.

    Yields:
        A callback for `LabelConditionalPipeline.sample`.
    """
    with tqdm(total=calls, desc=title, unit="step", disable=title is None or not this_process().is_main_process) as bar:

        def advance(timestep: int, images: torch.Tensor) -> None:
            bar.update(timestep != FINISHED)
            if on_state is not None:
                on_state(timestep, images)

        yield advance


def _chunks(indices: list[int], size: int) -> Iterator[list[int]]:
    for start in range(0, len(indices), size):
        yield indices[start : start + size]
