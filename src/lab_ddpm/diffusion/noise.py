"""Noise levels, and what a network predicts at them.

    x_t = sqrt(abar_t) x_0 + sqrt(1 - abar_t) eps          (DDPM, arXiv:2006.11239, eq. 4)

A network predicts one of three, and given x_t each of them follows from each other one:

    "epsilon"        eps
    "sample"         x_0
    "v_prediction"   v = sqrt(abar) eps - sqrt(1 - abar) x_0      (arXiv:2202.00512, section 4)

In all functions `alpha_bar` broadcasts to the images: a scalar, or (B, 1, 1, 1).
"""

from __future__ import annotations

from typing import Any

import torch
from diffusers import DDPMScheduler

PREDICTION_TYPES = ("epsilon", "sample", "v_prediction")
BETA_SCHEDULES = ("linear", "scaled_linear", "squaredcos_cap_v2", "sigmoid")


class NoiseLevels:
    """abar_t of one schedule, for timesteps of any shape on any device.

    It is no module of torch: a model that is moved to bfloat16 would round the noise levels too.

    Args:
        num_train_timesteps: T.
        beta_schedule: One of `BETA_SCHEDULES`.
    """

    def __init__(self, num_train_timesteps: int, beta_schedule: str) -> None:
        self.alphas_cumprod = alphas_cumprod(num_train_timesteps, beta_schedule)

    def __call__(self, timesteps: torch.Tensor) -> torch.Tensor:
        """abar_t; between whole timesteps sigma = sqrt(1 / abar - 1) is linear, as samplers have it."""
        self.alphas_cumprod = levels = self.alphas_cumprod.to(timesteps.device)
        below = timesteps.long()
        if not timesteps.is_floating_point():
            return levels[below]
        sigmas = (1 / levels - 1).sqrt()
        above = (below + 1).clamp(max=len(levels) - 1)
        sigma = torch.lerp(sigmas[below], sigmas[above], timesteps.to(levels) - below)
        return torch.where(timesteps == below, levels[below], 1 / (sigma**2 + 1))


def alphas_cumprod(num_train_timesteps: int, beta_schedule: Any) -> torch.Tensor:
    """abar_t for t = 0 (almost clean) to `num_train_timesteps` - 1 (noise): (T,) float32, falling."""
    return DDPMScheduler(num_train_timesteps, beta_schedule=beta_schedule).alphas_cumprod


def add_noise(clean: torch.Tensor, noise: torch.Tensor, alpha_bar: torch.Tensor) -> torch.Tensor:
    """x_t of x_0 and eps; all of one shape (B, C, H, W)."""
    return alpha_bar.sqrt() * clean + (1 - alpha_bar).sqrt() * noise


def to_clean(
    prediction: torch.Tensor, noisy: torch.Tensor, alpha_bar: torch.Tensor, prediction_type: str
) -> torch.Tensor:
    """The x_0 that a prediction for the x_t `noisy` implies; all (B, C, H, W)."""
    if prediction_type == "sample":
        return prediction
    if prediction_type == "epsilon":
        return (noisy - (1 - alpha_bar).sqrt() * prediction) / alpha_bar.sqrt()
    return alpha_bar.sqrt() * noisy - (1 - alpha_bar).sqrt() * prediction


def from_clean(clean: torch.Tensor, noisy: torch.Tensor, alpha_bar: torch.Tensor, prediction_type: str) -> torch.Tensor:
    """The prediction for the x_t `noisy` that implies the x_0 `clean`: the inverse of `to_clean`."""
    if prediction_type == "sample":
        return clean
    if prediction_type == "epsilon":
        return (noisy - alpha_bar.sqrt() * clean) / (1 - alpha_bar).sqrt()
    return (alpha_bar.sqrt() * noisy - clean) / (1 - alpha_bar).sqrt()


def training_target(
    clean: torch.Tensor, noise: torch.Tensor, alpha_bar: torch.Tensor, prediction_type: str
) -> torch.Tensor:
    """What the network shall predict for the x_t of x_0 and eps; all (B, C, H, W)."""
    if prediction_type == "sample":
        return clean
    if prediction_type == "epsilon":
        return noise
    return alpha_bar.sqrt() * noise - (1 - alpha_bar).sqrt() * clean
