"""A pipeline's network as a graph: what `torch.export` and ONNX Runtime take, and a program that needs no lab_ddpm.

The graph is that of `Denoiser.predict`, with the embedding of the labels:

    noisy (B, *space.shape) float32, timestep () float32, class_labels (B, num_labels) float32 -> prediction
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from lab_ddpm.diffusion.denoiser import Denoiser
from lab_ddpm.tools.files import atomic_path

PROGRAM_FILE = "denoiser.pt2"
MAX_BATCH = 63  # diffusers' upsampling has another branch from 64 images on, and a graph has none
_EXAMPLES = 4  # any number but 0 and 1, which torch.export would take for constants


class PredictionGraph(nn.Module):
    """The network to be traced, in evaluation mode."""

    def __init__(self, denoiser: Denoiser) -> None:
        super().__init__()
        self.denoiser = denoiser.eval()

    def forward(self, noisy: torch.Tensor, timestep: torch.Tensor, class_labels: torch.Tensor) -> torch.Tensor:
        """`Denoiser.predict`, where only detailed timesteps pay for detail."""
        prediction = self.denoiser.predict_patches(noisy, timestep, class_labels)
        if self.denoiser.detailer is None:
            return prediction
        inputs = prediction, noisy, timestep, self.denoiser.alpha_bar(timestep)
        is_detailed = self.denoiser.is_detailed(timestep)
        return torch.cond(is_detailed, self.denoiser.detailer, lambda prediction, *_: prediction.clone(), inputs)

    def examples(self) -> tuple[torch.Tensor, ...]:
        """What to trace it with."""
        noisy = torch.zeros(_EXAMPLES, *self.denoiser.space.shape)
        return noisy, torch.tensor(0.0), self.denoiser.null_labels(_EXAMPLES)

    @staticmethod
    def dynamic_shapes(max_batch: int) -> tuple[dict[int, torch.export.Dim], ...]:
        """Any number of images up to `max_batch`."""
        batch = torch.export.Dim("batch", min=1, max=max_batch)
        return {0: batch}, {}, {0: batch}


@torch.no_grad()
def export_torch(denoiser: Denoiser, checkpoint: Path) -> Path:
    """Write the network into its pipeline's folder, for `torch.export.load` and at most 63 images a call.

    Args:
        denoiser: The pipeline's model, in float32 on the CPU.
        checkpoint: The folder that it was loaded from.

    Returns:
        The file.
    """
    graph = PredictionGraph(denoiser)
    program = torch.export.export(graph, graph.examples(), dynamic_shapes=graph.dynamic_shapes(MAX_BATCH))
    with atomic_path(checkpoint / PROGRAM_FILE) as path, open(path, "wb") as file:
        torch.export.save(program, file)
    return checkpoint / PROGRAM_FILE
