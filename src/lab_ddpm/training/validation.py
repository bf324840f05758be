"""Evaluation of a run while it trains: sample, write a grid and a strip, score, and keep the best pipelines."""

from __future__ import annotations

import time
from collections.abc import Sequence

import torch

from lab_ddpm.data.image_dataset import ImageDataset
from lab_ddpm.data.images import Images, image_grid, write_png
from lab_ddpm.diffusion.pipeline import LabelConditionalPipeline
from lab_ddpm.diffusion.sampling import image_seeds
from lab_ddpm.drawing.figures import DenoisingRecorder
from lab_ddpm.generation.generate import generate
from lab_ddpm.tools.interruption import Interrupted
from lab_ddpm.training.config import TrainConfig
from lab_ddpm.training.log import TrainingLog
from lab_ddpm.training.progress import step_name
from lab_ddpm.training.run_folder import keep_pipelines, save_pipeline
from lab_ddpm.training.selection import make_selection
from lab_ddpm.training.state import TrainingState

_GRID_COLUMNS, _GRID_IMAGES = 8, 64


class Validation:
    """The evaluations of one run, whose state is already loaded. All have the same conditions and the same noise."""

    def __init__(self, config: TrainConfig, images: ImageDataset, state: TrainingState, steps_per_epoch: int) -> None:
        self.config, self.state, self.fit = config, state, images.fit
        self.period = config.epochs_between_evaluations * steps_per_epoch
        self.selection = make_selection(config, images, state.accelerator.device, state.progress)

    def validate_if_due(self, log: TrainingLog, signals: Sequence[int]) -> bool:
        """Evaluate the averaged weights if it is time to, save their pipeline and the state, and choose best/.

        Returns:
            Whether it was time to.

        Raises:
            Interrupted: There is an entry in `signals`. A single process stops at the next denoising step.
        """
        state, progress = self.state, self.state.progress
        step = progress.step
        is_due = step % self.period == 0 or step == state.total_steps
        if step == 0 or step in progress.scores or not is_due:
            return False
        state.save()  # so that no step is lost if the evaluation is ended
        started = time.perf_counter()
        with state.averaged_weights() as denoiser:  # its forward computes in the precision of the run
            sampling = self.config.sampling
            pipeline = LabelConditionalPipeline(
                denoiser, sampling["scheduler"], sampling["steps"], sampling["guidance_scale"], self.fit
            )
            scores = self.selection.score(self._sample(pipeline, signals))
            if state.accelerator.is_main_process:
                save_pipeline(pipeline, state.folder, step)
        progress.scores[step] = self.selection.as_rank(scores)
        progress.seconds += time.perf_counter() - started
        log.validated(scores)
        state.save()
        self.keep_pipelines()
        return True

    def _sample(self, pipeline: LabelConditionalPipeline, signals: Sequence[int]) -> Images:
        """Sample images of the selection's conditions; writes their grid and the newest denoising strip."""
        step, accelerator = self.state.progress.step, self.state.accelerator
        recorder, conditions = DenoisingRecorder(pipeline.denoiser), self.selection.conditions

        def watch(timestep: int, samples: torch.Tensor) -> None:
            if signals and accelerator.num_processes == 1:  # several must sample to the end together
                raise Interrupted(signals[0], f"step {step}")
            recorder(timestep, samples)

        seeds = image_seeds(self.config.seed, len(conditions))
        images = generate(pipeline, conditions, seeds, progress=f"sampling after step {step}", on_state=watch).images
        if accelerator.is_main_process:
            folder = self.state.folder / "samples"
            shown = images[:: -(-len(images) // _GRID_IMAGES)]
            write_png(folder / f"{step_name(step)}.png", image_grid(shown, _GRID_COLUMNS))
            recorder.write(folder, conditions)
        return images

    def keep_pipelines(self) -> None:
        """Link best/ and last/, and delete the pipelines that no state needs."""
        if self.state.accelerator.is_main_process:
            keep_pipelines(self.state.folder, self.state.progress, self.config.evaluation.keep)
