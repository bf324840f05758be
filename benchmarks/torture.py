"""Commands that are killed, again and again, and started again: what comes out must be what comes out undisturbed.

Every job runs once undisturbed. Then its command is started in a copy of the same folder and killed: at a random
moment, while a file is being written, or soon after its start; with SIGKILL, SIGTERM or SIGINT. The same command is
started again until it ends by itself, and what it wrote is compared byte for byte.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from lab_ddpm.tools.files import TEMPORARY_PREFIX, file_hash

SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
_ERRORS = "printed.txt"
_SOON = 1.0  # seconds: a process that is killed again so soon has not found its state yet
_PATIENCE = 120.0  # seconds that a stop signal may take


@dataclass(frozen=True)
class Job:
    """A command, run in a folder of its own.

    Attributes:
        name: Of the job.
        arguments: Of `lab-ddpm`.
        results: Patterns of the files that must come out the same.
    """

    name: str
    arguments: Sequence[str]
    results: Sequence[str]


@dataclass
class Outcome:
    """What came of the kills of a job.

    Attributes:
        job: Its name.
        kills: By signal.
        ended: How often the command ended by itself.
        lost: How often it failed, something else came out, or it ended otherwise than its signal says.
        left_over: Temporary files that were still there at an end.
    """

    job: str
    kills: Counter[str] = field(default_factory=Counter)
    ended: int = 0
    lost: int = 0
    left_over: int = 0

    def row(self) -> list[object]:
        """The cells under `COLUMNS`."""
        by_signal = [self.kills[number.name] for number in SIGNALS]
        return [self.job, *by_signal, self.ended, self.lost, self.left_over]


COLUMNS = ("job", *(number.name for number in SIGNALS), "ends", "lost", "temporary files left")


def torture(job: Job, template: Path, folder: Path, kills: int, seed: int, lost: Path) -> Outcome:
    """Kill a job so many times.

    Args:
        job: The command.
        template: The folder that it finds when it starts for the first time.
        folder: Where it works; what is there is removed.
        kills: How often it is killed.
        seed: Of the moments and the signals.
        lost: Folders in which something was lost are kept there.

    Raises:
        RuntimeError: It does not even end undisturbed.
    """
    randomness, outcome = random.Random(seed), Outcome(job.name)
    place = _fresh(template, folder)
    started = time.perf_counter()
    if _start(job, place).wait() != 0:
        raise RuntimeError(f"{job.name} failed undisturbed in {place}")
    duration, expected = time.perf_counter() - started, _results(job, place)
    assert expected
    place = _fresh(template, folder)
    while True:
        process = _start(job, place)
        if sum(outcome.kills.values()) < kills and _killed(process, place, duration, randomness, outcome, lost):
            continue
        outcome.ended += 1
        if process.wait() != 0 or _results(job, place) != expected:
            _lose(place, outcome, lost)
        outcome.left_over += sum(1 for _ in place.rglob(f"{TEMPORARY_PREFIX}*"))
        if sum(outcome.kills.values()) >= kills:
            return outcome
        place = _fresh(template, folder)


def _fresh(template: Path, folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    return Path(shutil.copytree(template, folder))


def _start(job: Job, place: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "lab_ddpm", *job.arguments]
    with open(place / _ERRORS, "ab") as errors:
        return subprocess.Popen(command, cwd=place, stdout=errors, stderr=errors, start_new_session=True)


def _lose(place: Path, outcome: Outcome, lost: Path) -> None:
    outcome.lost += 1
    shutil.copytree(place, lost / f"{outcome.job}-lost-{outcome.lost}", symlinks=True, dirs_exist_ok=True)


def _killed(
    process: subprocess.Popen[bytes],
    place: Path,
    duration: float,
    randomness: random.Random,
    outcome: Outcome,
    lost: Path,
) -> bool:
    """Wait for a moment and kill the process with its group; False if it ended before."""
    way, number = randomness.choice(("any time", "any time", "writing", "soon")), randomness.choice(SIGNALS)
    end = time.perf_counter() + (_SOON * randomness.random() if way == "soon" else duration * randomness.random())
    while time.perf_counter() < end or way == "writing":
        if process.poll() is not None:
            return False
        if way == "writing" and time.perf_counter() > end and any(place.rglob(f"{TEMPORARY_PREFIX}*")):
            break
        time.sleep(0.001)
    if process.poll() is not None:
        return False
    os.killpg(process.pid, number)
    try:
        code = process.wait(_PATIENCE)
    except subprocess.TimeoutExpired:
        code = None
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    if code not in (0, -number, 128 + number):  # it was at its end already, or died of it, or stopped in good order
        _lose(place, outcome, lost)
    outcome.kills[number.name] += 1
    return True


def _results(job: Job, place: Path) -> dict[str, str]:
    """The hashes of its files, by their places."""
    files = {file for pattern in job.results for file in place.glob(pattern) if file.is_file()}
    return {str(file.relative_to(place)): file_hash(file) for file in sorted(files)}
