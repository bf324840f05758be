"""The noise levels, and how the three kinds of prediction follow from each other.

    x_t = sqrt(abar_t) x_0 + sqrt(1 - abar_t) eps                    (DDPM, arXiv:2006.11239, eq. 4)

    "epsilon"        the network predicts eps
    "sample"         the network predicts x_0
    "v_prediction"   the network predicts v = sqrt(abar) eps - sqrt(1 - abar) x_0         (arXiv:2202.00512, section 4)

diffusers' `DDPMScheduler` adds the training noise and computes v. This module adds what it lacks: the inverse, and abar
between whole timesteps. `alpha_bar` is a scalar or (B, 1, 1, 1).
"""

from __future__ import annotations

import torch
from diffusers import DDPMScheduler


def make_noise_scheduler(num_train_timesteps: int, beta_schedule: str) -> DDPMScheduler:
    """The training noise of a model: `add_noise`, `get_velocity`, and `alphas_cumprod` (T,), abar for t = 0, 1, ..."""
    with torch.device("cpu"):  # also where the model is built on the meta device
        return DDPMScheduler(num_train_timesteps, beta_schedule=beta_schedule)  # pyright: ignore[reportArgumentType]


def alpha_bar_at(alphas_cumprod: torch.Tensor, timesteps: torch.Tensor) -> torch.Tensor:
    """abar at (...) timesteps in [0, T - 1]; in between, sigma = sqrt(1 / abar - 1) is linear, as in the samplers."""
    below = timesteps.long()
    if not timesteps.is_floating_point():
        return alphas_cumprod[below]
    sigmas = (1 / alphas_cumprod - 1).sqrt()
    above = (below + 1).clamp(max=len(alphas_cumprod) - 1)
    sigma = torch.lerp(sigmas[below], sigmas[above], timesteps.to(alphas_cumprod) - below)
    return torch.where(timesteps == below, alphas_cumprod[below], 1 / (sigma**2 + 1))


def to_clean(
    prediction: torch.Tensor, noisy: torch.Tensor, alpha_bar: torch.Tensor, prediction_type: str
) -> torch.Tensor:
    """The clean x_0 that a prediction for x_t (`noisy`) implies; all are (B, C, H, W)."""
    if prediction_type == "sample":
        return prediction
    if prediction_type == "epsilon":
        return (noisy - (1 - alpha_bar).sqrt() * prediction) / alpha_bar.sqrt()
    return alpha_bar.sqrt() * noisy - (1 - alpha_bar).sqrt() * prediction


def from_clean(clean: torch.Tensor, noisy: torch.Tensor, alpha_bar: torch.Tensor, prediction_type: str) -> torch.Tensor:
    """The prediction for x_t (`noisy`) that implies x_0 (`clean`): the inverse of `to_clean`."""
    if prediction_type == "sample":
        return clean
    if prediction_type == "epsilon":
        return (noisy - alpha_bar.sqrt() * clean) / (1 - alpha_bar).sqrt()
    return (alpha_bar.sqrt() * noisy - clean) / (1 - alpha_bar).sqrt()
