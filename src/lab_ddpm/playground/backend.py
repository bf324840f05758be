"""The part of the playground behind its page: it generates images, and says what a classifier sees in them."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from threading import Event

import numpy as np
import torch
from numpy.typing import NDArray

from lab_ddpm.data.conditions import Condition
from lab_ddpm.data.iclevr import OBJECTS
from lab_ddpm.data.images import Images, resize_images, to_uint8
from lab_ddpm.diffusion.sampling import FINISHED, image_seeds
from lab_ddpm.evaluation.classifiers import IMAGE_SIZE, classifier_file, load_classifier, predict
from lab_ddpm.evaluation.scores import top_k
from lab_ddpm.generation.checkpoint import open_pipeline
from lab_ddpm.generation.generate import generate, sampling_record
from lab_ddpm.generation.placing import Place, generate_placed
from lab_ddpm.tools.errors import check_at_least

_SEEN = 1 / 2  # without a condition, labels with a higher output of the classifier count as seen


@dataclass(frozen=True)
class Settings:
    """The number of images, how they are sampled (None: with the pipeline's own setting), and their seed."""

    number: int = 4
    scheduler: str | None = None
    steps: int | None = None
    guidance_scale: float | None = None
    seed: int = 0


@dataclass(frozen=True)
class Preview:
    """Images that are being denoised, or the finished ones.

    Attributes:
        images: (N, H, W, C) uint8.
        captions: What the classifier sees in each finished image; empty until then.
    """

    images: Images
    captions: Sequence[str] = ()


class Backend:
    """A pipeline, and the classifier `referee` if it draws the objects of i-CLEVR.

    Args:
        checkpoint: The folder of the pipeline; None means the default checkpoint.

    Raises:
        DataError: The checkpoint is missing or broken.
    """

    def __init__(self, checkpoint: Path | None = None) -> None:
        self.pipeline = open_pipeline(checkpoint)
        assert self.pipeline.checkpoint is not None
        self.checkpoint, self.labels = self.pipeline.checkpoint, self.pipeline.denoiser.labels
        self.scheduler = str(sampling_record(self.pipeline)["scheduler"])
        is_iclevr = self.labels == OBJECTS
        self.classifier = load_classifier(classifier_file("referee"), OBJECTS) if is_iclevr else None
        self.is_ended = Event()  # at which all sampling stops, or Ctrl-C would wait for it
        self._worker = ThreadPoolExecutor(1)  # one thread does all the work: each new one would keep its own memory

    def draw(self, condition: Condition, places: Sequence[Place], settings: Settings) -> Generator[Preview, None, None]:
        """Generate images, and yield them before each step.

        Closing the iterator stops the sampling at the next step.

        Args:
            condition: Empty for images without a condition.
            places: A place for each object of the condition; empty for anywhere.
            settings: How many images to make, and how.

        Raises:
            UserError: A setting is out of range, or does not fit the model.
        """
        check_at_least("seed", settings.seed, 0)
        scheduler, seeds = self._other_scheduler(settings), image_seeds(settings.seed, settings.number)
        pipeline = self.pipeline.with_sampling(scheduler, settings.steps, settings.guidance_scale)
        states: SimpleQueue[Images | Future[Preview]] = SimpleQueue()
        closed = Event()

        def on_state(timestep: int, noisy: torch.Tensor) -> None:
            if closed.is_set() or self.is_ended.is_set():
                raise _ClosedError
            if timestep != FINISHED:
                states.put(to_uint8(pipeline.denoiser.space.decode(noisy)))

        def work() -> Preview:
            if places:
                images = generate_placed(pipeline, [places] * settings.number, seeds, on_state=on_state).images
            else:
                images = generate(pipeline, [condition] * settings.number, seeds, on_state=on_state).images
            return Preview(images, self.captions(images, condition))

        self._worker.submit(work).add_done_callback(states.put)
        try:
            while not isinstance(state := states.get(), Future):
                yield Preview(state)
            yield state.result()
        finally:
            closed.set()

    def captions(self, images: Images, condition: Condition) -> list[str]:
        """What the classifier sees in each image: a tick or a cross for each label of the condition, or its labels."""
        if self.classifier is None:
            return [""] * len(images)
        outputs = predict(self.classifier, resize_images(images, IMAGE_SIZE))
        return [_caption(self.labels, condition, row) for row in outputs]

    def code(self, condition: Condition, places: Sequence[Place], settings: Settings) -> str:
        """Python code that makes the same images."""
        sampling = self.pipeline.sampling.updated(None, settings.steps, settings.guidance_scale)
        scheduler = f'scheduler="{settings.scheduler}", ' if self._other_scheduler(settings) else ""
        how = f"{scheduler}steps={sampling.steps}, guidance_scale={sampling.guidance_scale:g}"
        names = "Place, generate_placed, image_seeds, open_pipeline" if places else "open_pipeline"
        lines = [f"from lab_ddpm import {names}", f'pipe = open_pipeline("{self.checkpoint}", {how})']
        times = f" * {settings.number}" if settings.number > 1 else ""
        if places:
            placed = ", ".join(f'Place("{place.label}", {place.x:g}, {place.y:g})' for place in places)
            seeds = f"image_seeds({settings.seed}, {settings.number})"
            lines.append(f"images = generate_placed(pipe, [[{placed}]]{times}, {seeds}).images")
        else:
            what = f'["{", ".join(condition)}"]{times}' if condition else f"batch_size={settings.number}"
            lines.append(f"images = pipe({what}, seed={settings.seed}).images")
        return "\n".join(lines)

    def _other_scheduler(self, settings: Settings) -> str | None:
        """None for the pipeline's own scheduler, because it may have no name in `SCHEDULERS`."""
        return None if settings.scheduler == self.scheduler else settings.scheduler


class _ClosedError(Exception):
    """The images are no longer wanted."""


def _caption(labels: Sequence[str], condition: Condition, outputs: NDArray[np.float32]) -> str:
    """The caption of an image. For k labels, the k highest outputs count as seen, as in `evaluation.scores`."""
    if not condition:
        return ", ".join(labels[int(index)] for index in np.flatnonzero(outputs > _SEEN))
    seen = [labels[int(index)] for index in top_k(outputs, len(condition))]
    ticks = ", ".join(f"{'✓' if label in seen else '✗'} {label}" for label in condition)
    others = ", ".join([label for label in seen if label not in condition])
    return f"{ticks} (sees {others})" if others else ticks
