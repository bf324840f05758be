"""What the hardware is: decides what `device: auto` and `mixed_precision: auto` mean."""

from __future__ import annotations

import torch


def uses_gpu(device: str) -> bool:
    """Whether the setting `device` ("auto", "cpu" or "cuda") means a GPU on this machine."""
    return device != "cpu" and torch.cuda.is_available()


def computes_in_bf16(device: torch.device) -> bool:
    """Whether bfloat16 is faster than float32 on `device`: GPUs since Ampere, CPUs with AMX or AVX512-BF16."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    found = torch.cpu.get_capabilities()
    return device.type == "cpu" and bool(found.get("amx_bf16") or found.get("avx512_bf16"))
