"""What changes the weights: AdamW, or Muon for the matrices within the UNet and AdamW for the rest."""

from __future__ import annotations

import torch
from timm.optim import Muon

from lab_ddpm.diffusion.denoiser import Denoiser
from lab_ddpm.training.config_sections import OptimizerConfig

_BETAS = (0.9, 0.999)


def make_optimizer(denoiser: Denoiser, config: OptimizerConfig) -> torch.optim.Optimizer:
    """The optimizer that `config.name` names.

    "adamw" is arXiv:1711.05101. "muon" (arXiv:2502.16982) makes the momentum of each matrix orthogonal, and that of
    each kernel, flattened to (out, in * height * width). Its steps are scaled by 0.2 sqrt(max(rows, columns)), which
    gives them the size of AdamW's, so one learning rate serves both. AdamW has the first and the last convolution, the
    embeddings, the biases and the norms.
    """
    if config.name == "adamw":
        return torch.optim.AdamW(
            denoiser.parameters(), lr=config.learning_rate, betas=_BETAS, weight_decay=config.weight_decay, fused=True
        )
    levels = ("unet.down_blocks.", "unet.mid_block.", "unet.up_blocks.")
    matrices, rest = [], []
    for name, parameter in denoiser.named_parameters():
        (matrices if name.startswith(levels) and parameter.ndim > 1 else rest).append(parameter)
    groups = [{"params": matrices, "use_muon": True}, {"params": rest, "use_muon": False}]
    return Muon(
        groups,
        lr=config.learning_rate,
        betas=_BETAS,
        weight_decay=config.weight_decay,
        adjust_lr_fn="match_rms_adamw",
        ns_coefficients="quintic",
    )
