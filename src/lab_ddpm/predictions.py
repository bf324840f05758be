"""What a network predicts, and the clean picture that it implies.

With x_t = sqrt(abar) x_0 + sqrt(1 - abar) eps (DDPM, arXiv:2006.11239, eq. 4), a network predicts

    "epsilon"        eps
    "sample"         x_0
    "v_prediction"   v = sqrt(abar) eps - sqrt(1 - abar) x_0      (arXiv:2202.00512, section 4)

and given x_t each of the three follows from each other one.
"""

from __future__ import annotations

import torch

PREDICTION_TYPES = ("epsilon", "sample", "v_prediction")


def to_clean(
    prediction: torch.Tensor, noisy_images: torch.Tensor, alpha_bar: torch.Tensor, prediction_type: str
) -> torch.Tensor:
    """The clean pictures x_0 that a prediction for `noisy_images` implies; all (B, C, H, W), `alpha_bar` a scalar."""
    if prediction_type == "sample":
        return prediction
    if prediction_type == "epsilon":
        return (noisy_images - (1 - alpha_bar).sqrt() * prediction) / alpha_bar.sqrt()
    return alpha_bar.sqrt() * noisy_images - (1 - alpha_bar).sqrt() * prediction


def from_clean(
    clean_images: torch.Tensor, noisy_images: torch.Tensor, alpha_bar: torch.Tensor, prediction_type: str
) -> torch.Tensor:
    """The prediction for `noisy_images` that implies `clean_images`: the inverse of `to_clean`."""
    if prediction_type == "sample":
        return clean_images
    if prediction_type == "epsilon":
        return (noisy_images - alpha_bar.sqrt() * clean_images) / (1 - alpha_bar).sqrt()
    return (alpha_bar.sqrt() * noisy_images - clean_images) / (1 - alpha_bar).sqrt()
