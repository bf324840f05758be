"""Read files of weights without running code in them, and check that they fit the network."""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from lab_ddpm.tools.errors import DataError, first_line, some


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


def check_state(path: Path, state: Mapping[str, torch.Tensor], expected: Mapping[str, torch.Tensor]) -> None:
    """Raise `DataError` unless `state` has the keys and shapes of `expected`; names the first misfits."""
    problems = [f"{key} is missing" for key in expected if key not in state]
    problems += [f"{key} is unknown" for key in state if key not in expected]
    problems += [
        f"{key} must have the shape {tuple(expected[key].shape)}, got {tuple(value.shape)}"
        for key, value in state.items()
        if key in expected and value.shape != expected[key].shape
    ]
    if problems:
        raise DataError(f"{path}: weights of another network: {some(problems)}")


@contextmanager
def naming_disk_errors(target: Path) -> Iterator[None]:
    """Turn the errors of torch and safetensors about a full disk into the OSError that they are."""
    try:
        yield
    except (SafetensorError, RuntimeError) as error:
        raise OSError(f"{target}: cannot be written; is the disk full? ({first_line(error)})") from error
