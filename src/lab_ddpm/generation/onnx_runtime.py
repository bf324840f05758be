"""A pipeline's network on ONNX Runtime, which samples faster than PyTorch on a CPU.

`export_onnx` writes the network, with the embedding of the labels, as `denoiser.onnx` into the folder of its pipeline.
Where that file is there and ONNX Runtime is installed, `sampler.open_sampler` takes it; all else, from noise and
guidance to the scheduler, stays what it was.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from contextlib import redirect_stdout
from importlib.util import find_spec
from io import StringIO
from pathlib import Path

import torch

from lab_ddpm.diffusion.denoiser import Denoiser
from lab_ddpm.generation.checkpoint import checkpoint_hash
from lab_ddpm.generation.torch_export import PredictionGraph
from lab_ddpm.tools.checksums import check_sums, write_sums
from lab_ddpm.tools.errors import DataError, UserError, first_line
from lab_ddpm.tools.files import atomic_path

ONNX_FILE = "denoiser.onnx"
_HASH = "lab_ddpm.denoiser_hash"  # of the network that a file was exported from, in the file's metadata


def can_run_onnx(checkpoint: Path, device: torch.device) -> bool:
    """Whether a pipeline has the file, is on the CPU, and ONNX Runtime is installed."""
    return device.type == "cpu" and (checkpoint / ONNX_FILE).is_file() and find_spec("onnxruntime") is not None


def export_onnx(denoiser: Denoiser, checkpoint: Path) -> Path:
    """Write the network of a pipeline (`torch_export.PredictionGraph`) into the pipeline's folder.

    Args:
        denoiser: The pipeline's model, in float32 on the CPU.
        checkpoint: The folder that it was loaded from.

    Returns:
        The file.

    Raises:
        UserError: What writes ONNX is not installed.
    """
    _check_installed("onnxruntime", "onnxscript")
    graph = PredictionGraph(denoiser)
    with redirect_stdout(StringIO()), warnings.catch_warnings(), torch.no_grad():  # it tells what it does
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            graph,
            graph.examples(),
            input_names=["noisy", "timestep", "class_labels"],
            output_names=["prediction"],
            dynamic_shapes=graph.dynamic_shapes(2**16),
            dynamo=True,
        )
    assert program is not None
    program.model.metadata_props[_HASH] = checkpoint_hash(checkpoint, ["denoiser"])
    with atomic_path(checkpoint / ONNX_FILE) as path:
        program.save(path)
    write_sums(checkpoint, [ONNX_FILE])
    return checkpoint / ONNX_FILE


def _check_installed(*packages: str) -> None:
    for package in packages:
        if find_spec(package) is None:
            raise UserError(f"{package} is not installed: pip install 'lab_ddpm[onnx]'")


def open_onnx(checkpoint: Path) -> Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]:
    """The network in a pipeline's folder, in the place of `Denoiser.predict`; as many threads as torch has.

    Raises:
        UserError: ONNX Runtime is not installed.
        DataError: The file is missing or broken, or was exported from another pipeline.
    """
    _check_installed("onnxruntime")
    import onnxruntime

    file, again = checkpoint / ONNX_FILE, f"`lab-ddpm export-onnx --checkpoint {checkpoint}` writes it"
    if not file.is_file():
        raise DataError(f"{file}: no such file; {again}")
    check_sums(checkpoint)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3  # errors: it warns of constants in branches of the graph that it does not need
    try:
        session = onnxruntime.InferenceSession(os.fspath(file), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # it has no class of its own that all its errors are of
        raise DataError(f"{file}: cannot be read ({first_line(error)}); {again}") from None
    if session.get_modelmeta().custom_metadata_map.get(_HASH) != checkpoint_hash(checkpoint, ["denoiser"]):
        raise DataError(f"{file}: was exported from another pipeline than that in {checkpoint}; {again}")
    takes = {node.name for node in session.get_inputs()}

    def predict(noisy: torch.Tensor, timesteps: torch.Tensor, class_labels: torch.Tensor) -> torch.Tensor:
        values = {"noisy": noisy, "timestep": timesteps.float(), "class_labels": class_labels}
        (prediction,) = session.run(None, {name: values[name].numpy() for name in takes})
        return torch.from_numpy(prediction)

    return predict
