"""Export a network as a graph: `denoiser.onnx` for ONNX Runtime, `denoiser.pt2` for PyTorch without lab_ddpm.

noisy (B, *space.shape) float32, timestep () float32, class_labels (B, num_labels) float32 -> prediction

For a model with clusters, class_labels are (B, num_clusters).
A model with a layout also takes place_map (B, place_map_channels, H / p, W / p) float32, see `place_map`.
"""

from __future__ import annotations

import warnings
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

import torch
from torch import nn

from lab_ddpm.diffusion.denoiser import Denoiser
from lab_ddpm.generation.checkpoint import checkpoint_hash
from lab_ddpm.generation.onnx_runtime import HASH_KEY, ONNX_FILE
from lab_ddpm.tools.checksums import write_sums
from lab_ddpm.tools.extras import require_extra
from lab_ddpm.tools.files import atomic_path

PROGRAM_FILE = "denoiser.pt2"
MAX_BATCH = 63  # with 64 images or more, diffusers' upsampling takes another branch, and a graph can have only one
_MAX_ONNX_BATCH = 2**16
_EXAMPLES = 4  # any number but 0 and 1, which torch.export treats as constants


@torch.no_grad()
def export_torch(denoiser: Denoiser, checkpoint: Path) -> Path:
    """Write a network into its pipeline's folder, for `torch.export.load` and at most 63 images per call.

    Args:
        denoiser: The pipeline's model, in float32 on the CPU.
        checkpoint: The folder that it was loaded from.
    """
    graph = PredictionGraph(denoiser)
    program = torch.export.export(graph, (), graph.examples(), dynamic_shapes=graph.dynamic_shapes(MAX_BATCH))
    with atomic_path(checkpoint / PROGRAM_FILE) as path, open(path, "wb") as file:
        torch.export.save(program, file)
    return checkpoint / PROGRAM_FILE


def export_onnx(denoiser: Denoiser, checkpoint: Path) -> Path:
    """As `export_torch`, but for ONNX Runtime and any number of images.

    Raises:
        UserError: onnxruntime or onnxscript is not installed.
    """
    require_extra("onnxruntime", "onnxscript")
    graph = PredictionGraph(denoiser)
    with redirect_stdout(StringIO()), warnings.catch_warnings(), torch.no_grad():  # it prints its progress
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            graph,
            kwargs=graph.examples(),
            input_names=list(graph.examples()),
            output_names=["prediction"],
            dynamic_shapes=graph.dynamic_shapes(_MAX_ONNX_BATCH),
            dynamo=True,
        )
    assert program is not None
    program.model.metadata_props[HASH_KEY] = checkpoint_hash(checkpoint, ["denoiser"])
    with atomic_path(checkpoint / ONNX_FILE) as path:
        program.save(path)
    write_sums(checkpoint, [ONNX_FILE])
    return checkpoint / ONNX_FILE


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
        maps = [] if place_map is None else [place_map]
        inputs = prediction, noisy, timestep, self.denoiser.alpha_bar(timestep), *maps
        gets_detail = timestep < detailer.num_timesteps
        return torch.cond(gets_detail, detailer, lambda prediction, *_: prediction.clone(), inputs)

    def examples(self) -> dict[str, torch.Tensor]:
        """Example inputs by name, to trace the network with."""
        space = self.denoiser.space
        channels, *size = space.shape
        inputs = {"noisy": torch.zeros(_EXAMPLES, channels, *size), "timestep": torch.tensor(0.0)}
        inputs["class_labels"] = torch.zeros(
            _EXAMPLES, len(self.denoiser.labels) + self.denoiser.config["num_clusters"]
        )
        return inputs | (
            {"place_map": torch.zeros(_EXAMPLES, self.denoiser.place_map_channels, *size)} if space.has_layout else {}
        )

    def dynamic_shapes(self, max_batch: int) -> dict[str, dict[int, torch.export.Dim]]:
        """The number of images may be anything up to `max_batch`."""
        batch = torch.export.Dim("batch", min=1, max=max_batch)
        return {name: {0: batch} if example.ndim else {} for name, example in self.examples().items()}
