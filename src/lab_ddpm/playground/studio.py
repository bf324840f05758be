"""What the playground does, without its page: a pipeline draws what is asked for, and a classifier looks at it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from threading import Event, Thread
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from lab_ddpm.data.conditions import Condition, check_condition, parse_condition
from lab_ddpm.data.iclevr import OBJECTS
from lab_ddpm.data.images import Images, resize_images, to_uint8
from lab_ddpm.diffusion.reverse_process import FINISHED, image_seeds
from lab_ddpm.evaluation.classifiers import (
    EVALUATOR_DIR,
    IMAGE_SIZE,
    NoFit,
    classifier_file,
    load_classifier,
    predict,
)
from lab_ddpm.evaluation.object_scores import top_k
from lab_ddpm.generation.interpolation import interpolate_conditions
from lab_ddpm.generation.placing import Place, sample_placed
from lab_ddpm.generation.sampler import Sampler, open_sampler
from lab_ddpm.tools.errors import DataError, check_at_least
from lab_ddpm.tools.shipped import SHIPPED

_T = TypeVar("_T")
_SEEN = 1 / 2  # outputs of a classifier above it count as seen where nothing was asked for


@dataclass(frozen=True)
class Settings:
    """How to draw: the number of images, the sampler (None is the pipeline's own), and the seed."""

    number: int = 4
    scheduler: str | None = None
    steps: int | None = None
    guidance_scale: float | None = None
    seed: int = 0


@dataclass(frozen=True)
class Drawing:
    """Images on their way, or done.

    Attributes:
        images: (N, H, W, C) uint8.
        captions: What the classifier sees in each; empty while they are on their way.
    """

    images: Images
    captions: Sequence[str] = ()


class Studio:
    """A pipeline, and the classifier of its labels where there is one.

    Args:
        checkpoint: The folder of the pipeline; None takes the default one.

    Raises:
        DataError: No such checkpoint, or a broken one.
    """

    def __init__(self, checkpoint: Path | None = None) -> None:
        sampler = open_sampler(checkpoint, runtime="auto")
        assert sampler.checkpoint is not None
        self.pipeline, self.denoiser, self.checkpoint = sampler.pipeline, sampler.denoiser, sampler.checkpoint
        self.labels = sampler.labels
        self.guidance_scale: float = sampler.pipeline.config["guidance_scale"]
        self.scheduler, self.steps = sampler.scheduler, sampler.steps
        self.classifier = _classifier_of(self.labels, self.denoiser.config["in_channels"])
        # One thread draws all: the memory that each new one takes for itself is not given back.
        # A daemon, not a ThreadPoolExecutor, whose thread would make Ctrl-C wait for the drawing.
        self._drawings: SimpleQueue[Callable[[], None]] = SimpleQueue()
        Thread(target=_call_all, args=(self._drawings,), daemon=True).start()

    def draw(self, condition: Condition, places: Sequence[Place], settings: Settings) -> Iterator[Drawing]:
        """Images of a condition, as they become clear.

        Closing the iterator stops the sampling at its next step.

        Args:
            condition: What to draw; empty for images under no condition.
            places: Where its objects shall stand, all of them; empty for anywhere.
            settings: How.

        Raises:
            UserError: A setting out of range, or what the model cannot do.
        """
        if condition:
            check_condition(condition, self.labels)
        check_at_least("number", settings.number, 1)
        sampler = self._sampler(settings, guided=bool(condition))
        seeds = image_seeds(settings.seed, settings.number)
        arriving: SimpleQueue[Images | Future[Drawing]] = SimpleQueue()
        left = Event()

        def show(timestep: int, images: torch.Tensor) -> None:
            if left.is_set():
                raise _LeftAlone
            if timestep != FINISHED:
                arriving.put(to_uint8(images))

        def draw() -> Drawing:
            if places:
                samples = sample_placed(sampler, [places] * settings.number, seeds, on_state=show)
            else:
                samples = sampler.sample([condition] * settings.number, seeds, on_state=show)
            return Drawing(samples.images, self.captions(samples.images, condition))

        self._in_turn(draw).add_done_callback(arriving.put)
        try:
            while not isinstance(arrived := arriving.get(), Future):
                yield Drawing(arrived)
            yield arrived.result()
        finally:
            left.set()

    def walk(self, ends: Sequence[str], count: int, settings: Settings) -> Images:
        """(count, H, W, C) images between two conditions, `"red cube, cyan sphere"` each, from the same noise.

        Raises:
            UserError: A condition or a setting that does not fit.
        """
        conditions = [parse_condition(words, self.labels) for words in ends]
        sampler = self._sampler(settings, guided=True)
        walk = self._in_turn(lambda: interpolate_conditions(sampler, conditions, count, settings.seed))
        return to_uint8(walk.result().images)

    def captions(self, images: Images, condition: Condition) -> list[str]:
        """What the classifier sees in each image: asked labels with a tick or a cross, or what it is sure of."""
        if self.classifier is None:
            return [""] * len(images)
        is_iclevr = self.labels == OBJECTS
        outputs = predict(self.classifier, resize_images(images, IMAGE_SIZE) if is_iclevr else images)
        return [_caption(self.labels, condition, row) for row in outputs]

    def code(self, condition: Condition, places: Sequence[Place], settings: Settings) -> str:
        """The lines of Python that make the same images."""
        guidance = self.guidance_scale if settings.guidance_scale is None else settings.guidance_scale
        scheduler, steps = self._scheduler(settings), settings.steps or self.steps
        lines = [
            "from lab_ddpm import LabelConditionalPipeline",
            f'pipe = LabelConditionalPipeline.from_pretrained("{self.checkpoint}")',
        ]
        if places:
            placed = ", ".join(f'Place("{place.label}", {place.x:g}, {place.y:g})' for place in places)
            return "\n".join(
                [
                    "from lab_ddpm import Sampler",
                    "from lab_ddpm.diffusion.reverse_process import image_seeds",
                    "from lab_ddpm.generation.placing import Place, sample_placed",
                    *lines,
                    f"places = [{placed}]",
                    f"sampler = Sampler(pipe, {scheduler!r}, {steps}, {guidance:g})",
                    f"seeds = image_seeds({settings.seed}, {settings.number})",
                    f"images = sample_placed(sampler, [places] * {settings.number}, seeds).images",
                ]
            )
        what = f'["{", ".join(condition)}"] * {settings.number}' if condition else f"batch_size={settings.number}"
        guided = f", guidance_scale={guidance:g}" if condition else ""
        return "\n".join(
            [
                *lines,
                *([f'pipe.scheduler = "{scheduler}"'] if scheduler else []),
                f"images = pipe({what}, num_inference_steps={steps}{guided}, seed={settings.seed}).images",
            ]
        )

    def _in_turn(self, function: Callable[[], _T]) -> Future[_T]:
        """What it returns, once the thread that draws has come to it."""
        done: Future[_T] = Future()

        def call() -> None:
            try:
                done.set_result(function())
            except Exception as error:
                done.set_exception(error)

        self._drawings.put(call)
        return done

    def _scheduler(self, settings: Settings) -> str | None:
        """The name of another one than the pipeline's own, which may have none."""
        return None if settings.scheduler == self.scheduler else settings.scheduler

    def _sampler(self, settings: Settings, guided: bool) -> Sampler:
        check_at_least("seed", settings.seed, 0)
        guidance = settings.guidance_scale if guided and self.denoiser.config["condition_dropout"] else None
        scheduler = self._scheduler(settings)
        return Sampler(self.pipeline, scheduler, settings.steps, guidance, checkpoint=self.checkpoint)


def _call_all(functions: SimpleQueue[Callable[[], None]]) -> None:
    while True:
        functions.get()()


class _LeftAlone(Exception):
    """Nobody waits for the images any more."""


def _classifier_of(labels: Sequence[str], channels: int) -> nn.Module | None:
    """The referee of i-CLEVR, or the first classifier in `evaluator/` that was made for just these labels."""
    if tuple(labels) == OBJECTS:
        return load_classifier(classifier_file("referee"), labels)
    folders = (EVALUATOR_DIR, SHIPPED / EVALUATOR_DIR)
    for name in dict.fromkeys(file.name for folder in folders for file in sorted(folder.glob("*.safetensors"))):
        try:
            return load_classifier(EVALUATOR_DIR / name, labels, channels)
        except NoFit:
            continue
        except DataError as error:
            print(f"no captions by this one: {error}")
    return None


def _caption(labels: Sequence[str], condition: Condition, outputs: NDArray[np.float32]) -> str:
    """The k highest outputs count for a condition of k labels, as in `evaluation.object_scores`."""
    if not condition:
        return ", ".join(labels[int(place)] for place in np.flatnonzero(outputs > _SEEN))
    seen = [labels[int(place)] for place in top_k(outputs, len(condition))]
    ticks = ", ".join(f"{'✓' if label in seen else '✗'} {label}" for label in condition)
    others = ", ".join([label for label in seen if label not in condition])
    return f"{ticks} (sees {others})" if others else ticks
