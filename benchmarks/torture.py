"""Kill commands again and again, start them again, and compare what they write with an undisturbed run.

    python benchmarks/torture.py --kills 40

Every job runs once undisturbed. Then its command is started in a copy of the same folder and killed: at a random
moment, while a file is being written, or soon after its start; with SIGKILL, SIGTERM or SIGINT. The same command is
started again until it ends by itself, and what it wrote is compared byte for byte. Exit code 1 if anything differs.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from common import markdown_table
from lab_ddpm.cli import run
from lab_ddpm.evaluation.classifiers import classifier_file
from lab_ddpm.tools.errors import check_at_least
from lab_ddpm.tools.files import TEMPORARY_PREFIX, sha256, write_text

SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
COLUMNS = ("job", *(number.name for number in SIGNALS), "ends", "lost", "temporary files left")
_ERRORS = "printed.txt"
_SOON = 1.0  # seconds: a process that is killed again so soon has not found its state yet
_PATIENCE = 120.0  # seconds that a process may take to stop

_SCENES = 8
_TRAINING = {
    "name": "run",
    "epochs": 6,
    "batch_size": 4,
    "save_every_steps": 3,
    "log_every_steps": 1,
    "mixed_precision": "no",
    "data": {"root": "data", "num_scenes": _SCENES, "num_workers": 0},
    "model": {
        "patch_size": 4,
        "block_out_channels": [32, 32],
        "layers_per_block": 1,
        "attention_levels": [1],
        "condition_dropout": 0.1,
    },
    "optimizer": {"warmup_steps": 4, "ema_decay": 0.9},
    "sampling": {"steps": 3},
    "evaluation": {"every_epochs": 2, "split": "few.json"},
}
_SWEEP = {
    "training": {"extends": "training.yaml", "epochs": 2, "evaluation": {"metric": "none"}},
    "classifier": "referee.safetensors",
    "num_images": 10,
    "seeds": [0],
    "settings": {"baseline": {}, "l1": {"loss.name": "l1"}},
}


@dataclass(frozen=True)
class Job:
    """A command, run in a folder of its own.

    Attributes:
        arguments: Of Python.
        results: Patterns of the files that must come out the same.
    """

    arguments: Sequence[str]
    results: Sequence[str]


_COMMAND = ("-m", "lab_ddpm")
JOBS = {
    "render": Job(
        (*_COMMAND, "render", "--num-scenes", str(_SCENES + 4), "--out", "data"),
        ("data/images/*", "data/masks/*", "data/*.json*"),
    ),
    "train": Job((*_COMMAND, "train", "--config", "training.yaml"), ("runs/run/last/**/*", "runs/run/samples/*.png")),
    "generate": Job(
        (*_COMMAND, "generate", "--checkpoint", "pipeline", "--split", "few.json", "--steps", "500"),
        ("generated/few/*.png",),
    ),
    "sweep": Job(
        (str(Path(__file__).resolve().with_name("ablate.py")), "sweep.yaml"),
        ("ablations/sweep/table.*", "ablations/sweep/images/*.png"),
    ),
    "import": Job((*_COMMAND, "import-data", "official", "--out", "there"), ("there/**/*",)),
}


@dataclass
class Outcome:
    """The results of the kills of a job.

    Attributes:
        kills: By signal.
        ended: How often the command ended by itself.
        lost: How often it failed, wrote other files, or ended with an unexpected exit code.
        left_over: Temporary files that were still there at an end.
    """

    kills: Counter[str] = field(default_factory=Counter)
    ended: int = 0
    lost: int = 0
    left_over: int = 0

    def row(self) -> list[int]:
        """The cells under `COLUMNS`, but for the first."""
        return [*(self.kills[number.name] for number in SIGNALS), self.ended, self.lost, self.left_over]


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", nargs="+", choices=JOBS, default=list(JOBS), help="default: all")
    parser.add_argument("--kills", type=int, default=50, help="of each job (default: 50)")
    parser.add_argument("--seed", type=int, default=0, help="of the moments and the signals (default: 0)")
    parser.add_argument("--out", type=Path, default=Path("torture"), help="default: torture")
    options = parser.parse_args(arguments)
    check_at_least("kills", options.kills, 1)
    outcomes: dict[str, Outcome] = {}
    with tempfile.TemporaryDirectory() as scratch:
        template, work = make_template(Path(scratch) / "template"), Path(scratch) / "work"
        for name in options.jobs:
            outcomes[name] = torture(JOBS[name], template, work, options.kills, options.seed, options.out / name)
            print(name, outcomes[name], flush=True)
    write_text(options.out / "table.md", markdown_table(COLUMNS, [[name, *of.row()] for name, of in outcomes.items()]))
    print(f"wrote {options.out / 'table.md'}")
    return 1 if any(outcome.lost or outcome.left_over for outcome in outcomes.values()) else 0


def make_template(folder: Path) -> Path:
    """A small replica, also in the official form; settings for a short run and for a sweep on it; a pipeline."""
    write_text(folder / "few.json", '[["red cube"], ["cyan sphere", "gray cube"]]\n')
    write_text(folder / "training.yaml", yaml.safe_dump(_TRAINING))
    write_text(folder / "sweep.yaml", yaml.safe_dump(_SWEEP))
    shutil.copy(classifier_file("referee"), folder)
    data, official, runs = folder / "data", folder / "official", folder / "runs"
    for command in (f"render --num-scenes {_SCENES} --out data", "train --config training.yaml --epochs 1"):
        subprocess.run([sys.executable, *_COMMAND, *command.split()], cwd=folder, check=True)
    shutil.copytree(data / "images", official / "images", ignore=shutil.ignore_patterns("metadata.jsonl"))
    shutil.copy(data / "train.json", official)
    shutil.copytree(runs / "run" / "best", folder / "pipeline")
    shutil.rmtree(runs)
    shutil.rmtree(data / ".cache")  # so that building it is disturbed, too
    return folder


def torture(job: Job, template: Path, folder: Path, kills: int, seed: int, lost: Path) -> Outcome:
    """Kill a job `kills` times.

    Args:
        job: The command.
        template: The folder that it finds when it starts for the first time.
        folder: Where it works; its content is removed.
        kills: How often it is killed.
        seed: Of the moments and the signals.
        lost: Folders in which something was lost are copied there.

    Raises:
        RuntimeError: It fails without being disturbed.
    """
    randomness, outcome = random.Random(seed), Outcome()
    place = _fresh(template, folder)
    started = time.perf_counter()
    if _start(job, place).wait() != 0:
        raise RuntimeError(f"{' '.join(job.arguments)}: {(place / _ERRORS).read_text().strip()}")
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
    command = [sys.executable, *job.arguments]
    with open(place / _ERRORS, "ab") as errors:
        return subprocess.Popen(command, cwd=place, stdout=errors, stderr=errors, start_new_session=True)


def _lose(place: Path, outcome: Outcome, lost: Path) -> None:
    outcome.lost += 1
    shutil.copytree(place, lost / str(outcome.lost), symlinks=True, dirs_exist_ok=True)


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
    if code not in (0, -number, 128 + number):  # it had ended, or the signal ended it, or it stopped in good order
        _lose(place, outcome, lost)
    outcome.kills[number.name] += 1
    return True


def _results(job: Job, place: Path) -> dict[str, str]:
    """The hashes of its files, by their places."""
    files = {file for pattern in job.results for file in place.glob(pattern) if file.is_file()}
    return {str(file.relative_to(place)): sha256(file) for file in sorted(files)}


if __name__ == "__main__":
    sys.exit(run(main))
