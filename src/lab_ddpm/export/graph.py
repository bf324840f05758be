"""A model as a graph that `torch.export` and ONNX take:

noisy (B, *space.shape) float32, timestep () float32, class_labels (B, num_labels) float32 -> prediction

A model with a layout also takes place_map (B, layout_channels, H / p, W / p) float32, see `places`.
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

    def forward(
        self,
        noisy: torch.Tensor,
        timestep: torch.Tensor,
        class_labels: torch.Tensor,
        place_map: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """`Denoiser.forward`, with a branch of the graph for the timesteps that get detail."""
        prediction = self.denoiser.predict_without_detail(noisy, timestep, class_labels, place_map)
        detailer = self.denoiser.detailer
        if detailer is None:
            return prediction
        inputs = prediction, noisy, timestep, self.denoiser.alpha_bar(timestep)
        gets_detail = timestep < detailer.num_timesteps
        return torch.cond(gets_detail, detailer, lambda prediction, *_: prediction.clone(), inputs)

    def examples(self) -> dict[str, torch.Tensor]:
        """Example inputs by name, to trace the network with."""
        space = self.denoiser.space
        channels, *size = space.shape
        inputs = {"noisy": torch.zeros(_EXAMPLES, channels, *size), "timestep": torch.tensor(0.0)}
        inputs["class_labels"] = self.denoiser.class_labels([()] * _EXAMPLES)
        return inputs | (
            {"place_map": torch.zeros(_EXAMPLES, self.denoiser.told_channels, *size)} if space.has_layout else {}
        )

    def dynamic_shapes(self, max_batch: int) -> dict[str, dict[int, torch.export.Dim]]:
        """The number of images may be anything up to `max_batch`."""
        batch = torch.export.Dim("batch", min=1, max=max_batch)
        return {name: {0: batch} if example.ndim else {} for name, example in self.examples().items()}
