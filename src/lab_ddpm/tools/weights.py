"""Read files of weights without running code in them, and check that they fit the network."""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from textwrap import shorten
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from lab_ddpm.tools.errors import DataError, first_line
from lab_ddpm.tools.files import atomic_path


def read_weights(path: Path) -> Any:
    """The content of a `.safetensors` file, or of a PyTorch file that holds plain weights only.

    Raises:
        DataError: The file is broken, or holds objects other than plain weights.
    """
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        with warnings.catch_warnings(action="ignore"):  # about a file that it then refuses
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise DataError(f"{path}: refused: it holds objects other than plain weights; save net.state_dict()") from None
    except (SafetensorError, RuntimeError, EOFError, OSError, ValueError, KeyError) as error:
        raise DataError(f"{path}: broken weights file ({first_line(error)})") from None


def load_state(path: Path, network: nn.Module, state: Mapping[str, torch.Tensor]) -> None:
    """Load the weights of a file into a network, or raise `DataError` if they are of another network."""
    try:
        network.load_state_dict(state)
    except RuntimeError as error:  # it lists everything that does not fit
        raise DataError(f"{path}: weights of another network: {shorten(str(error), 300)}") from None


@contextmanager
def naming_disk_errors(target: Path) -> Iterator[None]:
    """Turn the errors of torch and safetensors about a full disk into the OSError that they are."""
    try:
        yield
    except (SafetensorError, RuntimeError) as error:
        raise OSError(f"{target}: cannot be written; is the disk full? ({first_line(error)})") from error


def save_halved(network: nn.Module, path: Path, metadata: dict[str, str] | None = None) -> None:
    """Write the weights of a network atomically, as a `.safetensors` file with a header.

    Kernels and matrices are stored as float16, vectors (biases, batch-norm statistics) as float32.
    """
    state = {
        key: (value.half() if value.ndim > 1 else value).detach().cpu().contiguous()
        for key, value in network.state_dict().items()
    }
    with naming_disk_errors(path), atomic_path(path) as temporary:
        save_file(state, temporary, metadata=metadata)
