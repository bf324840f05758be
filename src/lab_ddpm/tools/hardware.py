"""The hardware, and which process of a launch this one is."""

from __future__ import annotations

import os
from contextlib import suppress
from datetime import timedelta

import psutil
import torch
from accelerate import PartialState

from lab_ddpm.tools.worker_pool import available_cores

PROCESS_TIMEOUT = timedelta(minutes=30)
"""How long the processes of a launch wait for one of them that is behind, or does not answer."""


def uses_gpu(device: str) -> bool:
    """Whether the setting `device` ("auto", "cpu" or "cuda") means a GPU on this machine."""
    return device != "cpu" and torch.cuda.is_available()


def computes_in_bf16(device: torch.device) -> bool:
    """Whether bfloat16 is faster than float32 on `device`: GPUs since Ampere, CPUs with AMX or AVX512-BF16."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    found = torch.cpu.get_capabilities()
    return device.type == "cpu" and bool(found.get("amx_bf16") or found.get("avx512_bf16"))


def use_all_cores() -> None:
    """Use all physical cores in a process that `accelerate launch` started alone, without a GPU and with one thread.

    The launch sets OMP_NUM_THREADS=1 unless it is called with `--cpu`. A number that a user has set is kept: it is in
    the environment or the command line of the launch itself.
    """
    if "LOCAL_RANK" in os.environ or torch.get_num_threads() != 1 or torch.cuda.is_available():
        return
    with suppress(psutil.Error):  # the launch is in another container, or has ended
        launch = psutil.Process(os.getppid())
        options = {argument.split("=")[0].replace("-", "_") for argument in launch.cmdline()}
        if "OMP_NUM_THREADS" in launch.environ() or "__num_cpu_threads_per_process" in options:
            return
    torch.set_num_threads(min(psutil.cpu_count(logical=False) or 1, available_cores()))


def this_process() -> PartialState:
    """This process among those that were launched together, on a CUDA GPU or else on the CPU."""
    return PartialState(cpu=not torch.cuda.is_available(), timeout=PROCESS_TIMEOUT)
