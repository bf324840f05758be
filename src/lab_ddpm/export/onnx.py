"""Export a model to ONNX Runtime; `generation.onnx_runtime` opens the file."""

from __future__ import annotations

import warnings
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

import torch

from lab_ddpm.diffusion.denoiser import Denoiser
from lab_ddpm.export.graph import PredictionGraph
from lab_ddpm.generation.checkpoint import checkpoint_hash
from lab_ddpm.generation.onnx_runtime import HASH_KEY, ONNX_FILE
from lab_ddpm.tools.checksums import write_sums
from lab_ddpm.tools.extras import need
from lab_ddpm.tools.files import atomic_path

_MAX_BATCH = 2**16


def export_onnx(denoiser: Denoiser, checkpoint: Path) -> Path:
    """Write the network (`graph.PredictionGraph`) into its pipeline's folder.

    Args:
        denoiser: The pipeline's model, in float32 on the CPU.
        checkpoint: The folder that it was loaded from.

    Returns:
        The file.

    Raises:
        UserError: onnxruntime or onnxscript is not installed.
    """
    need("onnxruntime", "onnxscript")
    graph = PredictionGraph(denoiser)
    with redirect_stdout(StringIO()), warnings.catch_warnings(), torch.no_grad():  # it prints its progress
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            graph,
            kwargs=graph.examples(),
            input_names=list(graph.examples()),
            output_names=["prediction"],
            dynamic_shapes=graph.dynamic_shapes(_MAX_BATCH),
            dynamo=True,
        )
    assert program is not None
    program.model.metadata_props[HASH_KEY] = checkpoint_hash(checkpoint, ["denoiser"])
    with atomic_path(checkpoint / ONNX_FILE) as path:
        program.save(path)
    write_sums(checkpoint, [ONNX_FILE])
    return checkpoint / ONNX_FILE
