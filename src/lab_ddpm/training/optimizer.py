"""What changes the weights: AdamW, or Muon for the matrices within the networks and AdamW for the rest."""

from __future__ import annotations

import torch

from lab_ddpm.diffusion.denoiser import Denoiser
from lab_ddpm.training.config_sections import OptimizerConfig
from lab_ddpm.training.muon import Muon


def make_optimizer(denoiser: Denoiser, config: OptimizerConfig) -> torch.optim.Optimizer:
    """The optimizer that `config.name` names: "adamw" (arXiv:1711.05101) or "muon" (see `muon`).

    Of Muon, AdamW has the first and the last convolution, the embeddings, the biases and the norms.
    """
    if config.name == "adamw":
        return torch.optim.AdamW(
            denoiser.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay, fused=True
        )
    levels = ("unet.down_blocks.", "unet.mid_block.", "unet.up_blocks.", "detailer.level.")
    matrices, rest = [], []
    for name, parameter in denoiser.named_parameters():
        (matrices if parameter.ndim > 1 and name.startswith(levels) else rest).append(parameter)
    return Muon(matrices, rest, lr=config.learning_rate, weight_decay=config.weight_decay)
