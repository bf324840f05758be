"""Eight binary pixels in a byte."""

from __future__ import annotations

import torch
import torch.nn.functional as F


def pack(pixels: torch.Tensor) -> torch.Tensor:
    """(..., n) bool -> (..., ceil(n / 8)) uint8."""
    whole = F.pad(pixels.byte(), (0, -pixels.shape[-1] % 8)).unflatten(-1, (-1, 8))
    return (whole * _bits(pixels.device)).sum(dim=-1, dtype=torch.uint8)


def unpack(packed: torch.Tensor, count: int) -> torch.Tensor:
    """(..., ceil(count / 8)) uint8 -> (..., count) bool."""
    return (packed[..., None] & _bits(packed.device) > 0).flatten(-2)[..., :count]


def _bits(device: torch.device) -> torch.Tensor:
    return 2 ** torch.arange(8, dtype=torch.uint8, device=device)
