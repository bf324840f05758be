"""What the hardware is, and which process of a launch this one is."""

from __future__ import annotations

import os

import psutil
import torch
from accelerate import PartialState


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
    """In a process of `accelerate launch`: compute on all cores where it was left, alone and without a GPU, just one.

    The launch sets OMP_NUM_THREADS=1 unless it is called with `--cpu` or told another number, which is kept. The cores
    are the physical ones that this process may run on.
    """
    if "LOCAL_RANK" not in os.environ and torch.get_num_threads() == 1 and not torch.cuda.is_available():
        allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        torch.set_num_threads(min(psutil.cpu_count(logical=False) or 1, allowed))


def this_process() -> PartialState:
    """This process among those that were launched together; the only one where there was no launch."""
    return PartialState(cpu=launched_on_cpus())


def launched_on_cpus() -> bool:
    """Whether a launch (`torchrun`) started it on a machine without a GPU: accelerate has to be told."""
    return "LOCAL_RANK" in os.environ and not torch.cuda.is_available()
