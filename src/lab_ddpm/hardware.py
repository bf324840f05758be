"""What the hardware computes in: decides what `mixed_precision: auto` means."""

from __future__ import annotations

import torch


def computes_in_bf16(device: torch.device) -> bool:
    """Whether bfloat16 is faster than float32 on `device`: GPUs since Ampere, CPUs with AMX."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return device.type == "cpu" and bool(torch.cpu.get_capabilities().get("amx_bf16"))
