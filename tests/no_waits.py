"""Finds what would make a GPU wait, on a machine without one."""

from __future__ import annotations

from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

_READ = {"_local_scalar_dense", "equal", "nonzero", "masked_select", "_unique2", "bincount", "_linalg_solve_ex"}


class NoWaits(TorchDispatchMode):
    """Inside the block, it is an error to read values of a device: `.item()`, `if tensor`, `.cpu()`.

    So is a result whose shape depends on values: `nonzero`, a boolean index.

    Args:
        device: The device that stands for a GPU. "meta" has no values, so nothing can read them. "cpu" computes
            everything, but copies cannot be seen.
        sends: Whether the CPU may send numbers, which wait until the work before them is done.
    """

    def __init__(self, device: str, sends: bool = False) -> None:
        super().__init__()
        self.device, self.sends = device, sends

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        given = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)]
        result = func(*args, **(kwargs or {}))
        if any(tensor.device.type == self.device for tensor in given):
            indices = args[1] if name in ("index", "index_put", "index_put_") else []
            reads = name in _READ or any(index is not None and index.dtype == torch.bool for index in indices)
            assert not reads, f"`{name}` makes a GPU wait"
        if name in ("_to_copy", "copy_") and not self.sends:
            assert given[-1].device == result.device, f"a copy of {tuple(given[-1].shape)} numbers makes a GPU wait"
        return result
