"""A full or read-only disk, a lost folder, too little memory, a clock that goes back, a killed process.

Each is one line, and the last good state is kept.
"""

from __future__ import annotations

import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from conftest import LAUNCH_TWO, save_random_classifiers, tiny_arguments
from lab_ddpm.cli import main
from lab_ddpm.tools.files import sha256
from lab_ddpm.training.state import newest_state

pytestmark = pytest.mark.slow

SCRIPT = Path(__file__).parents[2] / "scripts" / "train.py"


@pytest.fixture
def place(tiny_dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with data and classifiers, which commands start in."""
    save_random_classifiers(tmp_path / "evaluator")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def disk(place: Path) -> Iterator[Path]:
    """A small disk of its own, for the runs; skips where this user may not mount one."""
    folder = place / "runs"
    folder.mkdir()
    if not mount(folder, "size=64k"):
        pytest.skip("needs the right to mount a disk")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def mount(folder: Path, options: str) -> bool:
    command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
    return (
        shutil.which("mount") is not None and not subprocess.run(command, capture_output=True, check=False).returncode
    )


def remount(folder: Path, options: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{options}", str(folder)], check=True)


def error_lines(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return [line for line in capsys.readouterr().err.splitlines() if line.startswith("lab-ddpm: ")]


def result(run: Path) -> dict[str, str]:
    return {file.name: sha256(file) for file in (run / "last").rglob("*.safetensors")}


@pytest.fixture
def expected(place: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The weights of the run undisturbed."""
    undisturbed = tmp_path_factory.mktemp("undisturbed")
    assert main(["train", *tiny_arguments(place, runs_dir=undisturbed)]) == 0
    return result(undisturbed / "tiny")


def test_a_full_disk(place: Path, disk: Path, expected: dict[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    codes, states = [], []
    for kibibytes in (64, 4_000, 12_000, 20_000, 24_000, 65_000):  # a state takes 8,700
        remount(disk, f"size={kibibytes}k")
        codes.append(main(["train", *tiny_arguments(place)]))
        states.append(newest_state(disk / "tiny"))
        lines = error_lines(capsys)
        assert len(lines) == codes[-1], lines
        assert not list(disk.rglob(".writing-*"))
    assert (codes[0], states[0]) == (1, None)
    assert any(code and state for code, state in zip(codes, states, strict=True))  # a good one was kept
    assert codes[-1] == 0
    assert result(disk / "tiny") == expected


def test_a_read_only_disk(
    place: Path, disk: Path, expected: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    remount(disk, "size=12m")  # for a state, not for two
    assert main(["train", *tiny_arguments(place)]) == 1
    capsys.readouterr()
    remount(disk, "size=64m,ro")
    assert main(["train", *tiny_arguments(place)]) == 1
    (line,) = error_lines(capsys)
    assert "Read-only file system" in line
    assert newest_state(disk / "tiny") is not None
    remount(disk, "size=64m,rw")
    assert main(["train", *tiny_arguments(place)]) == 0
    assert result(disk / "tiny") == expected


@pytest.mark.parametrize("logged", [1, 1000])
def test_a_folder_that_is_gone(place: Path, logged: int) -> None:
    often = tiny_arguments(place, epochs=200, save_every_steps=1, log_every_steps=logged)
    command = [sys.executable, str(SCRIPT), *often]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    while not list(place.glob("runs/tiny/states/step_*")):
        assert process.poll() is None
        time.sleep(0.01)
    shutil.move(place / "runs" / "tiny", place / "gone")
    _, errors = process.communicate()
    assert process.returncode == 1
    assert "Traceback" not in errors
    assert len([line for line in errors.splitlines() if line.startswith("lab-ddpm: ")]) == 1
    assert newest_state(place / "gone") is not None
    assert newest_state(place / "runs" / "tiny") is None  # nothing began in its place


def test_too_little_memory(place: Path) -> None:
    limit = 12 * 2**30

    def limited() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))

    huge = tiny_arguments(place, batch_size=21, data__image_size=1024, model__block_out_channels=(512, 512))
    command = [sys.executable, str(SCRIPT), *huge]
    done = subprocess.run(command, capture_output=True, text=True, check=False, preexec_fn=limited)
    assert done.returncode == 1, done.stderr
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("lab-ddpm: ")]
    assert line.startswith("lab-ddpm: out of memory")
    assert "Traceback" not in done.stderr


def test_a_clock_that_goes_back(place: Path, expected: dict[str, str]) -> None:
    command = ["train", *tiny_arguments(place)]
    kill = """if True:
        import os, signal, sys
        from lab_ddpm.cli import main
        from lab_ddpm.training.state import TrainingState
        save = TrainingState.save
        def save_and_die(self):
            save(self)
            if self.progress.step == 4:
                os.kill(os.getpid(), signal.SIGKILL)
        TrainingState.save = save_and_die
        main(sys.argv[1:])
    """
    process = subprocess.run([sys.executable, "-c", kill, *command], capture_output=True, check=False)
    assert process.returncode == -signal.SIGKILL
    for age, file in enumerate(sorted(place.rglob("*"))):
        os.utime(file, (4e9 - age, 4e9 - age), follow_symlinks=False)  # the later ones look older, all from the future
    assert main(command) == 0
    assert result(place / "runs" / "tiny") == expected


def test_one_of_two_processes_is_killed(place: Path) -> None:
    """A launch ends when one of its processes dies, and the same command goes on."""
    launch = [*LAUNCH_TWO, str(SCRIPT), *tiny_arguments(place, epochs=20, save_every_steps=3)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    first = subprocess.Popen(launch, env=environment, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    while not list(place.glob("runs/tiny/states/step_*")):
        assert first.poll() is None
        time.sleep(0.01)
    children = psutil.Process(first.pid).children(recursive=True)
    ranks = {child.environ().get("RANK"): child for child in children if str(SCRIPT) in child.cmdline()}
    ranks["1"].kill()
    assert first.wait(120) != 0
    done = subprocess.run(launch, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert not list(place.rglob(".writing-*"))
