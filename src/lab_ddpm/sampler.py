"""A checkpoint with the sampler that a command asks for, and both as they stand in the files that it writes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import diffusers
from accelerate import PartialState

from lab_ddpm.checkpoint import checkpoint_hash, default_checkpoint, load_pipeline
from lab_ddpm.data.picture_cache import PictureDataset
from lab_ddpm.errors import UserError, check_positive
from lab_ddpm.pipeline import LabelConditionalPipeline
from lab_ddpm.schedulers import make_scheduler

diffusers.utils.logging.set_verbosity_error()  # it warns where `load_pipeline` raises


@dataclass(frozen=True)
class Sampler:
    """What turns labels and seeds into pictures.

    Attributes:
        checkpoint: Folder of the pipeline.
        pipeline: With the scheduler in place, on this process's device.
        scheduler: Its name.
        steps: Denoising steps.
        guidance_scale: 1 is unguided.
        guidance_is_asked: Whether it is not just the checkpoint's own.
    """

    checkpoint: Path
    pipeline: LabelConditionalPipeline
    scheduler: str
    steps: int
    guidance_scale: float
    guidance_is_asked: bool

    @property
    def labels(self) -> tuple[str, ...]:
        """What the model was trained on; empty for an unconditional one."""
        return tuple(self.pipeline.unet.config["labels"])

    def check_data(self, pictures: PictureDataset) -> None:
        """Raise `UserError` unless the model makes pictures like these, under the same labels if under any."""
        channels, own = pictures.pictures.shape[-1], self.pipeline.unet.config["in_channels"]
        if channels != own:
            kinds = {1: "grey", 3: "colour"}
            raise UserError(
                f"{self.checkpoint} makes {kinds[own]} pictures, and those to compare are {kinds[channels]}"
            )
        if self.labels and pictures.labels and self.labels != pictures.labels:
            raise UserError(f"{self.checkpoint} was trained on other labels than these pictures have")

    def unguided(self) -> float:
        """The guidance under the null label: none.

        Raises:
            UserError: Another one was asked for.
        """
        if self.guidance_scale != 1.0 and self.guidance_is_asked:
            raise UserError(f"`guidance-scale` must be 1 where there is no condition, got {self.guidance_scale}")
        return 1.0

    def settings(self) -> dict[str, object]:
        """For manifest.json and metrics.json."""
        return {
            "checkpoint": str(self.checkpoint),
            "checkpoint_hash": checkpoint_hash(self.checkpoint),
            "scheduler": self.scheduler,
            "steps": self.steps,
            "guidance_scale": self.guidance_scale,
        }


def open_sampler(checkpoint: Path | None, scheduler: str, steps: int, guidance_scale: float | None) -> Sampler:
    """Load a checkpoint and put the sampler in; say which checkpoint it is.

    Args:
        checkpoint: Folder of a pipeline; None takes the default one.
        scheduler: One of `schedulers.SCHEDULERS`.
        steps: Denoising steps.
        guidance_scale: None takes the checkpoint's own.

    Raises:
        UserError: An unknown scheduler, or a number out of range.
        DataError: No such checkpoint, or a broken one.
    """
    if guidance_scale is not None:
        check_positive("guidance-scale", guidance_scale)
    checkpoint = checkpoint or default_checkpoint()
    pipeline = load_pipeline(checkpoint)
    pipeline.scheduler = make_scheduler(scheduler, pipeline.scheduler, steps)
    pipeline.to(PartialState().device)
    if PartialState().is_main_process:
        print(f"checkpoint: {checkpoint}")
    own: float = pipeline.config["guidance_scale"]
    guidance = own if guidance_scale is None else guidance_scale
    return Sampler(checkpoint, pipeline, scheduler, steps, guidance, guidance_scale is not None)
