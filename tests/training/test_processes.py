"""Two machines, which are two network namespaces here: the same results as one, and a clear end if one is lost."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest
from PIL import Image
from safetensors.torch import load_file
from torch.nn.utils import parameters_to_vector

from conftest import LAUNCH_TWO, save_random_classifiers, tiny_arguments
from lab_ddpm.cli import main
from lab_ddpm.training.state import newest_state

pytestmark = pytest.mark.slow

SCRIPTS = Path(__file__).parents[2] / "scripts"
ADDRESSES = ("10.9.0.1", "10.9.0.2")
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--nnodes", "2", "--nproc_per_node", "1"]
MAIN = ["--master_addr", ADDRESSES[0], "--master_port", "29500"]
SHORT_PATIENCE = """
import sys
from datetime import timedelta
import lab_ddpm.tools.hardware
lab_ddpm.tools.hardware.PROCESS_TIMEOUT = timedelta(seconds=45)
from lab_ddpm.cli import main
sys.exit(main(["train", *sys.argv[1:]]))
"""


@pytest.fixture
def machines() -> Iterator[list[str]]:
    """Two network namespaces with a cable between them; skips where this user may not make them."""
    names = [f"lab-ddpm-{os.getpid()}-{rank}" for rank in (0, 1)]
    commands = [f"netns add {name}" for name in names]
    commands.append(f"link add eth0 netns {names[0]} type veth peer name eth0 netns {names[1]}")
    for name, address in zip(names, ADDRESSES, strict=True):
        commands += [f"-n {name} addr add {address}/24 dev eth0", f"-n {name} link set lo up"]
        commands += [f"-n {name} link set eth0 up"]
    try:
        if shutil.which("ip") is None or not all(ip(command) for command in commands):
            pytest.skip("needs the right to make network namespaces")
        yield names
    finally:
        for name in names:
            ip(f"netns del {name}")


def ip(command: str) -> bool:
    return not subprocess.run(["ip", *command.split()], capture_output=True, check=False).returncode


@pytest.fixture
def place(tiny_dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with data and classifiers, which both machines share."""
    save_random_classifiers(tmp_path / "evaluator")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def start(machines: list[str], program: list[str], folders: tuple[str, str] = (".", ".")) -> list[subprocess.Popen]:
    """Start a program on both machines, in a folder on each."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "eth0"}
    return [
        subprocess.Popen(
            ["ip", "netns", "exec", machine, *TORCHRUN, *MAIN, "--node_rank", str(rank), *program],
            cwd=folder,
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank, (machine, folder) in enumerate(zip(machines, folders, strict=True))
    ]


def end(launches: list[subprocess.Popen]) -> tuple[list[int], list[list[str]]]:
    """Wait for both machines; returns their exit codes and the lines of our own about errors."""
    errors = [launch.communicate()[1] for launch in launches]
    assert not any("lab_ddpm" in error and "Traceback" in error for error in errors), errors
    lines = [[line for line in error.splitlines() if line.startswith("lab-ddpm: ")] for error in errors]
    return [launch.returncode for launch in launches], lines


def training_process(launch: subprocess.Popen, script: str) -> psutil.Process:
    (found,) = [child for child in psutil.Process(launch.pid).children() if script in child.cmdline()]
    return found


def wait_for_a_state(run: Path, launches: list[subprocess.Popen]) -> None:
    while newest_state(run) is None:
        assert [launch.poll() for launch in launches] == [None, None], end(launches)
        time.sleep(0.01)


def test_two_machines_of_which_one_is_slow_do_what_one_process_does(machines: list[str], place: Path) -> None:
    script, options = str(SCRIPTS / "train.py"), {"epochs": 10, "evaluation__every_epochs": 5}
    launches = start(machines, [script, *tiny_arguments(place, **options)])
    wait_for_a_state(place / "runs" / "tiny", launches)
    slow = training_process(launches[1], script)
    slow.suspend()
    time.sleep(5)
    slow.resume()
    assert end(launches) == ([0, 0], [[], []])
    assert main(["train", *tiny_arguments(place, name="one", **options)]) == 0
    states = [newest_state(place / "runs" / name) for name in ("tiny", "one")]
    two, one = (parameters_to_vector(load_file(f"{state}/denoiser.safetensors").values()) for state in states)
    assert (two - one).norm() < 1e-3 * one.norm()

    sampling = ["--checkpoint", "runs/one/last", "--root", "data", "--split", "test", "--steps", "2"]
    for command in (["generate", *sampling], ["evaluate", *sampling, "--num-seeds", "1"]):
        assert main([*command, "--out", f"{command[0]}-one"]) == 0
        name, *arguments = command
        split = [str(SCRIPTS / f"{name}.py"), *arguments, "--out", f"{name}-two"]
        assert end(start(machines, split)) == ([0, 0], [[], []])
    images = [
        np.stack([np.asarray(Image.open(file)) for file in sorted(place.glob(f"generate-{name}/[0-9]*.png"))])
        for name in ("one", "two")
    ]
    assert np.abs(images[0].astype(int) - images[1]).max() <= 1
    scores = [json.loads((place / f"evaluate-{name}" / "metrics.json").read_text()) for name in ("one", "two")]
    assert scores[0] == scores[1]


@pytest.mark.parametrize("fault", ["killed", "unreachable"])
def test_a_machine_that_is_lost_ends_the_run_which_then_continues(machines: list[str], place: Path, fault: str) -> None:
    script = place / "train.py"
    script.write_text(SHORT_PATIENCE, encoding="utf-8")
    run, program = place / "runs" / "tiny", [str(script), *tiny_arguments(place, epochs=200)]
    launches = start(machines, program)
    wait_for_a_state(run, launches)
    if fault == "killed":
        training_process(launches[1], str(script)).send_signal(signal.SIGKILL)
    else:
        assert ip(f"-n {machines[1]} link set eth0 down")
    codes, lines = end(launches)
    assert codes == [1, 1]
    assert [len(each) for each in lines] == [1, 0 if fault == "killed" else 1]
    assert "lost another process" in lines[0][0]
    kept = newest_state(run)
    assert kept is not None
    assert ip(f"-n {machines[1]} link set eth0 up")
    launches = start(machines, program)
    while newest_state(run) == kept:
        assert [launch.poll() for launch in launches] == [None, None], end(launches)
        time.sleep(0.01)
    launches[1].terminate()  # as Slurm does: the process of the other machine then stops too
    codes, lines = end(launches)
    assert codes == [1, 1]
    assert "run the same command again" in lines[0][0]


@pytest.mark.parametrize(("shared", "named"), [("data", "`runs_dir`"), ("runs", "`data.root`")])
def test_what_machines_must_share_is_named(machines: list[str], place: Path, shared: str, named: str) -> None:
    (place / "runs").mkdir()
    for part in ("data", "runs", "evaluator"):
        if part == shared:
            (place / "other").mkdir(exist_ok=True)
            (place / "other" / part).symlink_to(place / part)
        else:
            shutil.copytree(place / part, place / "other" / part)
    if shared == "runs":
        first, *_, last = sorted((place / "other" / "data" / "images").iterdir())
        shutil.copy(last, first)
    arguments = tiny_arguments(Path())
    codes, lines = end(start(machines, [str(SCRIPTS / "train.py"), *arguments], (".", "other")))
    assert codes == [1, 1]
    assert all(named in line for (line,) in lines)
    assert not list(place.glob("**/states/*"))


def test_an_error_that_all_processes_share_is_the_only_line(place: Path) -> None:
    image = place / "data" / "images" / "CLEVR_train_000000_0.png"
    image.write_bytes(image.read_bytes()[:100])
    command = [*LAUNCH_TWO, str(SCRIPTS / "train.py"), *tiny_arguments(place)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    lines = {line for line in done.stderr.splitlines() if line.startswith("lab-ddpm: ")}
    assert len(lines) == 1
    assert image.name in lines.pop()
