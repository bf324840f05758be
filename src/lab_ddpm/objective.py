"""The training objective: noising, the target of the prediction, the loss and its weight per timestep.

    x_t = sqrt(abar_t) x_0 + sqrt(1 - abar_t) eps                        (DDPM, arXiv:2006.11239, eq. 4)
    L   = E[ w(t) * l(network(x_t, t, c), target) ]
    target = eps, x_0 or v, see `predictions`

With the signal-to-noise ratio SNR = abar_t / (1 - abar_t), a unit of weight on the error of x_0 is 1 / SNR units on
the error of eps and 1 / (SNR + 1) on that of v (arXiv:2303.09556, section 3.4). `loss_weight` therefore names a
weight w_0(SNR) on the x_0 error, and w = w_0 times that factor; "none" is w = 1 on whatever is predicted.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from diffusers import DDPMScheduler

from lab_ddpm.errors import check_choice
from lab_ddpm.predictions import PREDICTION_TYPES

LOSSES = ("mse", "l1", "huber")
LOSS_WEIGHTS = ("none", "min_snr", "clamped_snr", "p2")
TIMESTEP_DENSITIES = ("uniform", "logit_normal")
_GAMMAS = {"min_snr": 5.0, "clamped_snr": 8.0, "p2": 1.0}


class Objective:
    """Loss of a batch as a function of the network's prediction.

    Args:
        noise_scheduler: Training schedule; its `prediction_type` says what the network predicts.
        loss: "mse", "l1" or "huber" (threshold 1).
        loss_weight: "none"; "min_snr" w_0 = min(SNR, gamma) (arXiv:2303.09556, eq. 8);
            "clamped_snr" w_0 = min(SNR + 1, gamma), the v-prediction weight with a ceiling;
            "p2" w = gamma-power weight (1 + SNR)^-gamma on the simple loss (arXiv:2204.00227, eq. 8 with k = 1).
        loss_weight_gamma: The gamma of the weight; None takes 5 for "min_snr" and 1 for "p2", as in their papers, and
            8 for "clamped_snr".
        timestep_density: "uniform", or "logit_normal": t / T = sigmoid(mean + std * normal) (arXiv:2403.03206, eq. 19).
        logit_mean, logit_std: The two parameters of "logit_normal".
    """

    def __init__(
        self,
        noise_scheduler: DDPMScheduler,
        loss: str = "mse",
        loss_weight: str = "none",
        loss_weight_gamma: float | None = None,
        timestep_density: str = "uniform",
        logit_mean: float = 0.0,
        logit_std: float = 1.0,
    ) -> None:
        self.prediction_type = noise_scheduler.config["prediction_type"]
        check_choice("prediction_type", self.prediction_type, PREDICTION_TYPES)
        check_choice("loss", loss, LOSSES)
        check_choice("loss_weight", loss_weight, LOSS_WEIGHTS)
        check_choice("timestep_density", timestep_density, TIMESTEP_DENSITIES)
        self.noise_scheduler = noise_scheduler
        self.loss = loss
        self.timestep_density = timestep_density
        self.logit_mean, self.logit_std = logit_mean, logit_std
        self.weights = loss_weights(
            noise_scheduler.alphas_cumprod, self.prediction_type, loss_weight, loss_weight_gamma
        )

    def timesteps(self, uniforms: torch.Tensor) -> torch.Tensor:
        """(B,) uniform numbers in [0, 1) -> (B,) integer timesteps, by the inverse of the density's distribution."""
        device, uniforms = uniforms.device, uniforms.cpu().double()  # Apple's GPUs know no float64
        if self.timestep_density == "logit_normal":
            uniforms = torch.sigmoid(self.logit_mean + self.logit_std * math.sqrt(2) * torch.erfinv(2 * uniforms - 1))
        num_train_timesteps = self.noise_scheduler.config["num_train_timesteps"]
        return (uniforms * num_train_timesteps).long().clamp(0, num_train_timesteps - 1).to(device)

    def add_noise(self, clean_images: torch.Tensor, noise: torch.Tensor, timesteps: torch.Tensor) -> torch.Tensor:
        """x_t for each picture: (B, C, H, W) in [-1, 1], (B, C, H, W) normal, (B,) -> (B, C, H, W)."""
        return self.noise_scheduler.add_noise(clean_images, noise, timesteps)  # pyright: ignore[reportArgumentType]

    def __call__(
        self,
        prediction: torch.Tensor,
        clean_images: torch.Tensor,
        noise: torch.Tensor,
        timesteps: torch.Tensor,
    ) -> torch.Tensor:
        """Scalar loss: the weighted mean over the batch, for tensors shaped as in `add_noise`."""
        if self.prediction_type == "epsilon":
            target = noise
        elif self.prediction_type == "sample":
            target = clean_images
        else:
            target = self.noise_scheduler.get_velocity(clean_images, noise, timesteps)  # pyright: ignore[reportArgumentType]
        distance = {"mse": F.mse_loss, "l1": F.l1_loss, "huber": F.huber_loss}[self.loss]
        errors = distance(prediction.float(), target, reduction="none").mean(dim=(1, 2, 3))
        return (self.weights.to(errors.device)[timesteps] * errors).mean()


def loss_weights(
    alphas_cumprod: torch.Tensor, prediction_type: str, loss_weight: str, gamma: float | None = None
) -> torch.Tensor:
    """w(t) on the error of the prediction, for each of the (T,) `alphas_cumprod` -> (T,) float32."""
    alphas_cumprod = alphas_cumprod.double()
    if loss_weight == "none":
        return torch.ones(len(alphas_cumprod))
    gamma = _GAMMAS[loss_weight] if gamma is None else gamma
    snr = alphas_cumprod / (1 - alphas_cumprod)
    if loss_weight == "min_snr":
        clean_weight = snr.clamp(max=gamma)
    elif loss_weight == "clamped_snr":
        clean_weight = (snr + 1).clamp(max=gamma)
    else:
        clean_weight = snr * (1 + snr) ** -gamma
    per_prediction = {"sample": 1.0, "epsilon": 1 / snr, "v_prediction": 1 / (snr + 1)}[prediction_type]
    return (clean_weight * per_prediction).float()
