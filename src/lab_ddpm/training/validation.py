"""Looking at a run while it trains: sample a condition list, or every label, write a grid, score it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from accelerate import PartialState

from lab_ddpm.checkpoint import step_name
from lab_ddpm.classifiers.networks import PICTURE_SIZE, SELECTING_CLASSIFIER, load_classifier, predict
from lab_ddpm.conditions import decode, encode, every_label, load_conditions, resolve_split
from lab_ddpm.config import TrainConfig
from lab_ddpm.evaluation import Scores, summarise, top_k_hits
from lab_ddpm.figures import DenoisingRecorder
from lab_ddpm.generation import generate, picture_seeds
from lab_ddpm.images import make_grid, resize_pictures, write_png
from lab_ddpm.pipeline import LabelConditionalPipeline
from lab_ddpm.schedulers import make_scheduler

_GRID_COLUMNS = 8


class Validation:
    """Samples pipelines of one run, each time with the same conditions and the same noise, and scores them.

    Args:
        config: `evaluation` says what to sample and how to score it.
        run: Folder of the run; grids go to `run/samples/`.
        device: Where the classifier runs.

    Raises:
        UserError, DataError: The split or the classifier is not there or not usable (before training starts).
    """

    def __init__(self, config: TrainConfig, run: Path, device: torch.device) -> None:
        self.settings = config.evaluation
        self.run = run
        if self.settings.metric == "none":
            self.classifier = None
            self.class_labels = every_label(config.model.num_labels, self.settings.num_pictures)
        else:
            self.classifier = load_classifier(SELECTING_CLASSIFIER).to(device)
            self.class_labels = encode(load_conditions(resolve_split(self.settings.split, config.data.root)))
        self.seeds = picture_seeds(config.seed, len(self.class_labels))

    def __call__(
        self, pipeline: LabelConditionalPipeline, step: int, between_steps: Callable[[], None]
    ) -> Scores | None:
        """Sample, write `samples/step_N.png` and the newest denoising strip, score.

        Every process calls it and gets the same scores, or None where nothing is scored. What `between_steps` raises,
        which is called before each denoising step, ends it with nothing written.
        """
        training_scheduler = pipeline.scheduler
        pipeline.scheduler = make_scheduler(self.settings.scheduler, training_scheduler, self.settings.steps)
        recorder = DenoisingRecorder(num_train_timesteps=training_scheduler.config["num_train_timesteps"])

        def callback(timestep: int, images: torch.Tensor) -> None:
            between_steps()
            recorder(timestep, images)

        title = f"sampling after step {step}"
        pictures = generate(
            pipeline, self.class_labels, self.seeds, self.settings.steps, progress=title, callback=callback
        )
        pipeline.scheduler = training_scheduler
        if PartialState().is_main_process:
            samples = self.run / "samples"
            write_png(samples / f"{step_name(step)}.png", make_grid(pictures, _GRID_COLUMNS))
            recorder.write(samples, decode(self.class_labels, pipeline.unet.config["labels"]))
        if self.classifier is None:
            return None
        probabilities = predict(self.classifier, resize_pictures(pictures, PICTURE_SIZE))
        hits = top_k_hits(probabilities, self.class_labels)
        return summarise(hits[None], self.class_labels)
