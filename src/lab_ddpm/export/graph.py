"""A model as a graph that `torch.export` and ONNX take:

noisy (B, *space.shape) float32, timestep () float32, class_labels (B, num_labels) float32 -> prediction
"""

from __future__ import annotations

import torch
from torch import nn

from lab_ddpm.diffusion.denoiser import Denoiser

_EXAMPLES = 4  # any number but 0 and 1, which torch.export treats as constants


class PredictionGraph(nn.Module):
    """The network to trace, in evaluation mode."""

    def __init__(self, denoiser: Denoiser) -> None:
        super().__init__()
        self.denoiser = denoiser.eval()

    def forward(self, noisy: torch.Tensor, timestep: torch.Tensor, class_labels: torch.Tensor) -> torch.Tensor:
        """`Denoiser.forward`, with a branch of the graph for the timesteps that get detail."""
        prediction = self.denoiser.predict_without_detail(noisy, timestep, class_labels)
        if self.denoiser.detailer is None:
            return prediction
        inputs = prediction, noisy, timestep, self.denoiser.alpha_bar(timestep)
        gets_detail = self.denoiser.gets_detail(timestep)
        return torch.cond(gets_detail, self.denoiser.detailer, lambda prediction, *_: prediction.clone(), inputs)

    def examples(self) -> tuple[torch.Tensor, ...]:
        """Example inputs to trace the network with."""
        noisy = torch.zeros(_EXAMPLES, *self.denoiser.space.shape)
        return noisy, torch.tensor(0.0), self.denoiser.null_labels(_EXAMPLES)

    @staticmethod
    def dynamic_shapes(max_batch: int) -> tuple[dict[int, torch.export.Dim], ...]:
        """The number of images may be anything up to `max_batch`."""
        batch = torch.export.Dim("batch", min=1, max=max_batch)
        return {0: batch}, {}, {0: batch}
