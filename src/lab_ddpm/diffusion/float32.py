"""A module that stays in float32 in a model of another precision: the placer, outlines and clusters."""

from __future__ import annotations

from collections.abc import Callable
from typing import Self

import torch
from torch import nn


class Float32Module(nn.Module):
    """A module that stays in float32 when the model around it gets another precision."""

    def _apply(self, fn: Callable[[torch.Tensor], torch.Tensor], recurse: bool = True) -> Self:
        def keep(tensor: torch.Tensor) -> torch.Tensor:
            changed = fn(tensor)
            return changed if changed.dtype == tensor.dtype else tensor.to(changed.device)

        return super()._apply(keep, recurse)
