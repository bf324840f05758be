"""Export a model for `torch.export.load`, which needs PyTorch but not lab_ddpm."""

from __future__ import annotations

from pathlib import Path

import torch

from lab_ddpm.diffusion.denoiser import Denoiser
from lab_ddpm.export.graph import PredictionGraph
from lab_ddpm.tools.files import atomic_path

PROGRAM_FILE = "denoiser.pt2"
MAX_BATCH = 63  # with 64 images or more, diffusers' upsampling takes another branch, and a graph can have only one


@torch.no_grad()
def export_torch(denoiser: Denoiser, checkpoint: Path) -> Path:
    """Write the network (`graph.PredictionGraph`) into its pipeline's folder, for at most 63 images per call.

    Args:
        denoiser: The pipeline's model, in float32 on the CPU.
        checkpoint: The folder that it was loaded from.

    Returns:
        The file.
    """
    graph = PredictionGraph(denoiser)
    program = torch.export.export(graph, (), graph.examples(), dynamic_shapes=graph.dynamic_shapes(MAX_BATCH))
    with atomic_path(checkpoint / PROGRAM_FILE) as path, open(path, "wb") as file:
        torch.export.save(program, file)
    return checkpoint / PROGRAM_FILE
