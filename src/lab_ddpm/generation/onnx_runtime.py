"""A pipeline's network on ONNX Runtime, which is faster than PyTorch on a CPU.

`lab-ddpm export onnx` writes the network as `denoiser.onnx` into the pipeline's folder (`export.programs`). Everything
around the network stays the same: noise, guidance, scheduler.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import torch

from lab_ddpm.tools.checksums import check_sums
from lab_ddpm.tools.errors import DataError, first_line
from lab_ddpm.tools.extras import require_extra

ONNX_FILE = "denoiser.onnx"
HASH_KEY = "lab_ddpm.denoiser_hash"  # in the file's metadata: the hash of the network that it was exported from


def can_run_onnx(checkpoint: Path, device: torch.device) -> bool:
    """Whether a pipeline is on the CPU and has the file, and ONNX Runtime is installed."""
    return device.type == "cpu" and (checkpoint / ONNX_FILE).is_file() and find_spec("onnxruntime") is not None


def open_onnx(checkpoint: Path, network_hash: str) -> Callable[..., torch.Tensor]:
    """The network in a pipeline's folder, to replace `Denoiser.forward`; it uses as many threads as torch.

    Args:
        checkpoint: The folder.
        network_hash: The hash of the network in the folder, which the file must have been exported from.

    Raises:
        UserError: ONNX Runtime is not installed.
        DataError: The file is missing or broken, or was exported from another pipeline.
    """
    require_extra("onnxruntime")
    import onnxruntime

    file, again = checkpoint / ONNX_FILE, f"`lab-ddpm export onnx --checkpoint {checkpoint}` writes it"
    if not file.is_file():
        raise DataError(f"{file}: no such file; {again}")
    check_sums(checkpoint)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3  # only errors: it warns about constants that it does not need
    try:
        session = onnxruntime.InferenceSession(os.fspath(file), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its errors share no base class
        raise DataError(f"{file}: cannot be read ({first_line(error)}); {again}") from None
    if session.get_modelmeta().custom_metadata_map.get(HASH_KEY) != network_hash:
        raise DataError(f"{file}: was not exported from the pipeline in {checkpoint}; {again}")
    shapes = {node.name: node.shape for node in session.get_inputs()}

    def predict(
        noisy: torch.Tensor, timesteps: torch.Tensor, class_labels: torch.Tensor, place_map: torch.Tensor | None = None
    ) -> torch.Tensor:
        values = {"noisy": noisy, "timestep": timesteps.float(), "class_labels": class_labels, "place_map": place_map}
        if place_map is None and "place_map" in shapes:
            values["place_map"] = noisy.new_zeros(len(noisy), *shapes["place_map"][1:])
        (prediction,) = session.run(None, {name: values[name].numpy() for name in shapes})
        return torch.from_numpy(prediction)

    return predict
