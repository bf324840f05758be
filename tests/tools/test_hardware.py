"""Which device a process uses, and how many cores."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from accelerate import PartialState

from lab_ddpm.tools.hardware import this_process
from lab_ddpm.tools.worker_pool import available_cores

LAUNCH = [sys.executable, "-m", "accelerate.commands.launch", "--quiet", "--num_processes", "1"]
SCRIPT = """
import sys
import torch
from lab_ddpm.cli import run
sys.exit(run(lambda arguments: print(torch.get_num_threads())))
"""
CORES = min(psutil.cpu_count(logical=False) or 1, available_cores())


def test_a_gpu_without_cuda_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a Mac: accelerate would choose its GPU, which has no float64."""
    monkeypatch.setattr("accelerate.state.is_mps_available", lambda: True)
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr(PartialState, "_shared_state", {})
    assert this_process().device.type == "cpu"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("launch", "threads_asked", "threads"),
    [
        (LAUNCH, None, CORES),
        (LAUNCH, "1", 1),
        ([*LAUNCH, "--num-cpu-threads-per-process=1"], None, 1),
        ([sys.executable], "1", 1),
    ],
    ids=["accelerate launch", "one thread in its environment", "one thread in its options", "without a launch"],
)
def test_a_launched_process_computes_on_all_cores(
    tmp_path: Path, launch: list[str], threads_asked: str | None, threads: int
) -> None:
    """`accelerate launch` sets OMP_NUM_THREADS=1 if it is not set, and training would use one core of a laptop."""
    (tmp_path / "script.py").write_text(SCRIPT, encoding="utf-8")
    environment = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    if threads_asked:
        environment["OMP_NUM_THREADS"] = threads_asked
    command = [*launch, str(tmp_path / "script.py")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.split() == [str(threads)]
