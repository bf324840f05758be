"""Looking at a run while it trains: sample the conditions of its selection, write a grid and a strip, score."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import torch

from lab_ddpm.data.images import image_grid, write_png
from lab_ddpm.diffusion.pipeline import LabelConditionalPipeline
from lab_ddpm.diffusion.reverse_process import image_seeds
from lab_ddpm.drawing.figures import DenoisingRecorder
from lab_ddpm.generation.sampler import Sampler
from lab_ddpm.tools.hardware import this_process
from lab_ddpm.training.progress import step_name
from lab_ddpm.training.selection import Selection

_GRID_COLUMNS, _GRID_IMAGES = 8, 64


class Validation:
    """Samples pipelines of one run, each time with the same conditions and the same noise, and scores them.

    Args:
        selection: What to sample, and the score.
        seed: Of the run.
        run: Its folder; grids go to `run/samples/`.
    """

    def __init__(self, selection: Selection, seed: int, run: Path) -> None:
        self.selection, self.run = selection, run
        self.seeds = image_seeds(seed, len(selection.conditions))

    def __call__(self, pipeline: LabelConditionalPipeline, step: int, between_steps: Callable[[], None]) -> Mapping:
        """Sample, write `samples/step_N.png` and the newest denoising strip, score.

        Every process calls it and gets the same scores. What `between_steps` raises, which is called before each
        denoising step, ends it with nothing written.
        """
        recorder = DenoisingRecorder(num_train_timesteps=pipeline.denoiser.config["num_train_timesteps"])

        def watch(timestep: int, images: torch.Tensor) -> None:
            between_steps()
            recorder(timestep, images)

        conditions = self.selection.conditions
        sampler = Sampler(pipeline)
        title = f"sampling after step {step}"
        images = sampler.sample(conditions, self.seeds, progress=title, on_state=watch).images
        if this_process().is_main_process:
            samples = self.run / "samples"
            shown = images[:: -(-len(images) // _GRID_IMAGES)]
            write_png(samples / f"{step_name(step)}.png", image_grid(shown, _GRID_COLUMNS))
            recorder.write(samples, conditions)
        return self.selection.score(images)
