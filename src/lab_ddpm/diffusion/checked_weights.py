"""Checks on loaded weights: none is missing, unknown, or changed since it was written."""

from __future__ import annotations

from functools import wraps
from pathlib import Path
from typing import Any

import torch
from diffusers import ModelMixin

from lab_ddpm.tools.checksums import check_sums, write_sums
from lab_ddpm.tools.errors import DataError
from lab_ddpm.tools.weights import naming_disk_errors


class CheckedWeights:
    """A base class that checks a model's weights when they are loaded. List it before diffusers' `ModelMixin`."""

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str | Path, **options: Any) -> Any:
        """As in diffusers, but missing weights are an error. (diffusers warns and leaves them random.)

        Raises:
            DataError: Weights are missing, unknown or damaged.
        """
        check_sums(Path(pretrained_model_name_or_path, options.get("subfolder") or ""))
        options |= {"output_loading_info": True, "low_cpu_mem_usage": False}
        # rounded after loading, so that a `Float32Module` is not; diffusers rounds all, or keeps what the file has
        names = [name for name in ("dtype", "torch_dtype") if isinstance(options.get(name), torch.dtype)]
        dtypes = [options.pop(name) for name in names]
        model, info = super().from_pretrained(pretrained_model_name_or_path, **options)  # pyright: ignore
        if misfits := [key for keys in info.values() for key in keys]:
            raise DataError(
                f"{pretrained_model_name_or_path}: the weights are those of another model "
                f"({len(misfits)} misfits, {misfits[0]} ...)"
            )
        return torch.nn.Module.to(model, dtypes[0] if dtypes else torch.float32)  # diffusers' own `to` warns

    @wraps(ModelMixin.save_pretrained, assigned=(), updated=())  # a pipeline passes what the signature names
    def save_pretrained(self, save_directory: str | Path, *arguments: Any, **options: Any) -> None:
        """As in diffusers, but also write checksums of the weights, which `from_pretrained` checks."""
        with naming_disk_errors(Path(save_directory)):
            super().save_pretrained(save_directory, *arguments, **options)  # pyright: ignore
        write_sums(Path(save_directory), [file.name for file in Path(save_directory).glob("*.safetensors")])
