"""The playground under many visitors: every image must be the right one, and the server must not grow.

Several clients ask a server of its own for images, all at once, again and again, and break some requests off half
way. Requests repeat, so for each the right images are known: those that the library draws.
"""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from lab_ddpm.data.conditions import Condition
from lab_ddpm.data.iclevr import OBJECTS, SHAPES
from lab_ddpm.data.images import Images
from lab_ddpm.playground.server import running_playground
from lab_ddpm.playground.studio import Settings, Studio
from lab_ddpm.tools.errors import UserError, check_at_least, first_line

_OUTCOMES = ("right", "wrong", "failed", "broken off", "too late to break off")
_KINDS, _IMAGES, _STEPS = 100, 2, 4
_BROKEN_OFF = 0.2  # share of the requests
_WAIT = 300.0  # seconds, for an answer
_GROWTH = 64.0  # MiB that the server may grow by from the second tenth of the requests on
_MEBIBYTE = 2**20


@dataclass
class Outcome:
    """What came of the requests.

    Attributes:
        counts: Requests by what became of them, see `_OUTCOMES`.
        errors: Of the requests that failed, by their first lines.
        memory: Of the server, in MiB, after each tenth of the requests.
        seconds: All of it took.
    """

    counts: Counter[str] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)
    memory: list[float] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def is_good(self) -> bool:
        """Whether all images were right and the server did not grow."""
        grew = self.memory[-1] - self.memory[1] if len(self.memory) > 1 else 0.0
        return not self.counts["wrong"] and not self.counts["failed"] and grew <= _GROWTH

    def lines(self) -> list[str]:
        """The report."""
        total = sum(self.counts.values())
        return [
            f"{total} requests in {self.seconds:.0f} s: "
            + ", ".join(f"{self.counts[what]} {what}" for what in _OUTCOMES),
            "memory of the server, MiB, after each tenth: " + " ".join(f"{size:.0f}" for size in self.memory),
            *(f"{count} failed: {error}" for error, count in self.errors.most_common()),
        ]


def soak(checkpoint: Path, requests: int, clients: int, seed: int) -> Outcome:
    """Ask for images so many times.

    Args:
        checkpoint: A pipeline of i-CLEVR.
        requests: Of all clients together.
        clients: At the same time.
        seed: Of what is asked for, and of what is broken off.

    Raises:
        UserError: A number out of range, or a pipeline of other images.
    """
    check_at_least("requests", requests, 10)
    check_at_least("clients", clients, 1)
    studio = Studio(checkpoint)
    if studio.labels != OBJECTS:
        raise UserError(f"{checkpoint} was trained on other labels than the {len(OBJECTS)} i-CLEVR objects")
    kinds = [_Kind.draw(studio, number) for number in range(min(_KINDS, requests))]
    randomness, outcome, started = random.Random(seed), Outcome(), time.perf_counter()
    plan = [(randomness.choice(kinds), randomness.random() < _BROKEN_OFF) for _ in range(requests)]
    with running_playground(checkpoint) as (address, process), ThreadPoolExecutor(clients) as pool:
        from gradio_client import Client

        visitors = [Client(address, verbose=False, download_files=False) for _ in range(clients)]
        ends = [requests * tenth // 10 for tenth in range(11)]
        for start, end in pairwise(ends):
            asked = [
                pool.submit(_ask, visitors[index % clients], kind, breaks_off)
                for index, (kind, breaks_off) in enumerate(plan[start:end])
            ]
            for request in asked:
                try:
                    outcome.counts[request.result()] += 1
                except Exception as error:
                    outcome.counts["failed"] += 1
                    outcome.errors[f"{type(error).__name__}: {first_line(error)}"] += 1
            outcome.memory.append(process.memory_info().rss / _MEBIBYTE)
    outcome.seconds = time.perf_counter() - started
    return outcome


@dataclass(frozen=True)
class _Kind:
    """What may be asked for, and its images."""

    condition: Condition
    settings: Settings
    images: Images

    @classmethod
    def draw(cls, studio: Studio, number: int) -> _Kind:
        condition = tuple(random.Random(number).sample(OBJECTS, 1 + number % 3))
        settings = Settings(_IMAGES, "ddim", _STEPS, studio.guidance_scale, number)
        *_, last = studio.draw(condition, [], settings)
        return cls(condition, settings, last.images)

    def inputs(self) -> list[Any]:
        """What the page would send: the ticks of each shape, no places, and the settings."""
        ticks = [[label for label in self.condition if label.endswith(shape)] for shape in SHAPES]
        how = self.settings
        return [*ticks, False, [], how.number, how.scheduler, how.steps, how.guidance_scale, how.seed]

    def is_in(self, gallery: Sequence[Any]) -> bool:
        """Whether the images of a gallery, which names the server's files, are these."""
        shown = []
        for item in gallery:
            with Image.open(item["image"]["path"]) as file:
                shown.append(np.asarray(file.convert("RGB")))
        return np.array_equal(shown, self.images)


def _ask(client: Any, kind: _Kind, breaks_off: bool) -> str:
    job = client.submit(*kind.inputs(), api_name="/draw")
    if breaks_off:
        end = time.perf_counter() + _WAIT
        while not job.outputs() and not job.done() and time.perf_counter() < end:  # until it is being drawn
            time.sleep(0.005)
        return "broken off" if job.cancel() else "too late to break off"
    gallery, *_ = job.result(timeout=_WAIT)
    return "right" if kind.is_in(gallery) else "wrong"
