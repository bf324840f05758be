"""How much each timestep counts in the loss: how often it is drawn, and its weight.

With the signal-to-noise ratio SNR = abar / (1 - abar), a unit of weight on the error of x_0 is 1 / SNR units on the
error of eps and 1 / (SNR + 1) on that of v (arXiv:2303.09556, section 3.4). `loss_weight` therefore names a weight
w_0(SNR) on the x_0 error, and w = w_0 times that factor:

    "none"           w = 1 on whatever is predicted
    "min_snr"        w_0 = min(SNR, gamma)                      (arXiv:2303.09556, eq. 8)
    "clamped_snr"    w_0 = min(SNR + 1, gamma): the v-prediction weight with a ceiling
    "p2"             w = (1 + SNR)^-gamma on the simple loss    (arXiv:2204.00227, eq. 8 with k = 1)
"""

from __future__ import annotations

import math

import torch

LOSS_WEIGHTS = ("none", "min_snr", "clamped_snr", "p2")
TIMESTEP_DENSITIES = ("uniform", "logit_normal")
_GAMMAS = {"min_snr": 5.0, "clamped_snr": 8.0, "p2": 1.0}


def loss_weights(
    alphas_cumprod: torch.Tensor, prediction_type: str, loss_weight: str, gamma: float | None = None
) -> torch.Tensor:
    """w(t) on the error of the prediction, for each of the (T,) `alphas_cumprod` -> (T,) float32.

    A `gamma` of None is 5 for "min_snr" and 1 for "p2", as in their papers, and 8 for "clamped_snr".
    """
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


def draw_timesteps(
    uniforms: torch.Tensor, num_train_timesteps: int, density: str, logit_mean: float = 0.0, logit_std: float = 1.0
) -> torch.Tensor:
    """(B,) uniform numbers in [0, 1) -> (B,) timesteps, by the inverse of the density's distribution function.

    Args:
        uniforms: On any device, where the result stays.
        num_train_timesteps: T.
        density: "uniform", or "logit_normal": t / T = sigmoid(mean + std * normal) (arXiv:2403.03206, eq. 19).
        logit_mean, logit_std: The two parameters of "logit_normal".
    """
    if density == "logit_normal":
        uniforms = torch.sigmoid(logit_mean + logit_std * math.sqrt(2) * torch.erfinv(2 * uniforms - 1))
    return (uniforms * num_train_timesteps).long().clamp(0, num_train_timesteps - 1)
