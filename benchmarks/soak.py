"""Ask the playground for images from many clients at once: are all right, and does its memory stay flat?

    python benchmarks/soak.py --requests 1000 --clients 8

Several clients ask the server of a model with a layout for images at the same time, again and again, and break some
requests off half way. Requests repeat, and the right image of each is known: the one that the library makes. Exit code
1 if an image is wrong, a request fails or the memory grows.
"""

from __future__ import annotations

import argparse
import base64
import io
import json
import random
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, field
from http import HTTPStatus
from http.client import HTTPConnection
from itertools import pairwise
from pathlib import Path

import numpy as np
import psutil
from PIL import Image

from lab_ddpm.cli import run
from lab_ddpm.data.iclevr import OBJECTS
from lab_ddpm.data.images import Images
from lab_ddpm.generation.checkpoint import PRETRAINED
from lab_ddpm.generation.placing import Place, draw_places
from lab_ddpm.playground.backend import Backend, Settings
from lab_ddpm.tools.errors import UserError, check_at_least, first_line

_HOST = "127.0.0.1"
_OUTCOMES = ("right", "wrong", "failed", "broken off")
_KINDS, _STEPS = 100, 4
_BROKEN_OFF = 0.2  # share of the requests
_LATEST = 0.5  # seconds, until a request is broken off
_WAIT = 300.0  # seconds, for the server to start and for an answer
_GROWTH = 64.0  # MiB that the server may grow by from the second tenth of the requests on
_MEBIBYTE = 2**20


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", type=Path, default=PRETRAINED, help=f"of i-CLEVR (default: {PRETRAINED})")
    parser.add_argument("--requests", type=int, default=1000, help="of all clients together (default: 1000)")
    parser.add_argument("--clients", type=int, default=8, help="at the same time (default: 8)")
    parser.add_argument("--seed", type=int, default=0, help="of what is asked for (default: 0)")
    options = parser.parse_args(arguments)
    outcome = soak(options.checkpoint, options.requests, options.clients, options.seed)
    print(*outcome.lines(), sep="\n")
    return 0 if outcome.is_good else 1


@dataclass
class Outcome:
    """The results of the requests.

    Attributes:
        counts: Requests by their result, see `_OUTCOMES`.
        errors: The first lines of the errors of requests that failed.
        memory: Of the server, in MiB, after each tenth of the requests.
        seconds: How long everything took.
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
    backend = Backend(checkpoint)
    if backend.labels != OBJECTS:
        raise UserError(f"{checkpoint} was trained on other labels than the {len(OBJECTS)} i-CLEVR objects")
    kinds = [Kind.draw(backend, number) for number in range(min(_KINDS, requests))]
    randomness, outcome, started = random.Random(seed), Outcome(), time.perf_counter()
    plan = [
        (randomness.choice(kinds), _LATEST * randomness.random() if randomness.random() < _BROKEN_OFF else None)
        for _ in range(requests)
    ]
    with running_playground(checkpoint) as (port, process), ThreadPoolExecutor(clients) as pool:
        ends = [requests * tenth // 10 for tenth in range(11)]
        for start, end in pairwise(ends):
            for request in [pool.submit(_ask, port, kind, until) for kind, until in plan[start:end]]:
                try:
                    outcome.counts[request.result()] += 1
                except Exception as error:
                    outcome.counts["failed"] += 1
                    outcome.errors[f"{type(error).__name__}: {first_line(error)}"] += 1
            outcome.memory.append(process.memory_info().rss / _MEBIBYTE)
    outcome.seconds = time.perf_counter() - started
    return outcome


@contextmanager
def running_playground(checkpoint: Path) -> Iterator[tuple[int, psutil.Process]]:
    """Start a playground in a process of its own: its port, and the process.

    Raises:
        RuntimeError: It does not start; with the last line that it wrote.
    """
    with socket.socket() as probe:
        probe.bind((_HOST, 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "lab_ddpm", "playground", "--checkpoint", str(checkpoint), "--port", str(port)]
    with (
        tempfile.TemporaryFile("w+") as errors,
        subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=errors) as server,
    ):
        try:
            end = time.perf_counter() + _WAIT
            while not _is_taken(port):
                if server.poll() is not None or time.perf_counter() > end:
                    errors.seek(0)
                    last = (errors.read().strip().splitlines() or ["no output"])[-1]
                    raise RuntimeError(f"`lab-ddpm playground --checkpoint {checkpoint}` does not start: {last}")
                time.sleep(0.2)
            yield port, psutil.Process(server.pid)
        finally:
            server.terminate()


def _is_taken(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((_HOST, port)) == 0


@dataclass(frozen=True)
class Kind:
    """One kind of request, and its (H, W, C) image."""

    places: Sequence[Place]
    settings: Settings
    image: Images

    @classmethod
    def draw(cls, backend: Backend, number: int) -> Kind:
        """The kind of a number, drawn by the library."""
        condition = tuple(random.Random(number).sample(OBJECTS, 1 + number % 3))
        (places,) = draw_places(backend.pipeline.denoiser, [condition], [number])
        settings = Settings(1, "ddim", _STEPS, backend.pipeline.sampling.guidance_scale, number)
        *_, last = backend.draw(condition, places, settings)
        return cls(places, settings, last.images[0])

    def body(self) -> str:
        """What the page would send."""
        return json.dumps(asdict(self.settings) | {"places": [asdict(place) for place in self.places]})

    def is_in(self, answer: bytes) -> bool:
        """Whether an answer has this image."""
        _, _, image = json.loads(answer)["image"].partition(",")
        return np.array_equal(np.asarray(Image.open(io.BytesIO(base64.b64decode(image)))), self.image)


def _ask(port: int, kind: Kind, until: float | None) -> str:
    """Ask for an image, and break the request off after `until` seconds, if it is not None."""
    with closing(HTTPConnection(_HOST, port, timeout=_WAIT)) as connection:
        connection.request("POST", "/image", kind.body(), {"Content-Type": "application/json"})
        if until is not None:
            time.sleep(until)
            return "broken off"
        answer = connection.getresponse()
        content = answer.read()
        if answer.status != HTTPStatus.OK:
            raise RuntimeError(content.decode())
        return "right" if kind.is_in(content) else "wrong"


if __name__ == "__main__":
    sys.exit(run(main))
