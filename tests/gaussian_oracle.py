"""A data set whose best network is known in closed form: pixels x_0 ~ N(m_c, s^2) of two labels, for which

E[x_0 | x_t] = m_c + s^2 sqrt(abar) / (s^2 abar + 1 - abar) (x_t - sqrt(abar) m_c).
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from diffusers.configuration_utils import register_to_config

from lab_ddpm.diffusion.denoiser import Denoiser
from lab_ddpm.diffusion.noise import from_clean
from lab_ddpm.diffusion.sampling import Sampling, image_seeds, sample

MEANS, STD = (-0.3, 0.4), 0.15


class GaussianOracle(Denoiser):
    """The best network for Gaussian pixels, but for a relative `error` of its prediction."""

    @register_to_config
    def __init__(
        self, prediction_type: str = "sample", error: float = 0.0, beta_schedule: str = "squaredcos_cap_v2"
    ) -> None:
        small: dict[str, Any] = {"block_out_channels": (32,), "layers_per_block": 1, "attention_levels": ()}
        small |= {"sample_size": 16, "labels": ("dark", "bright"), "condition_dropout": 0.1}
        super().__init__(prediction_type=prediction_type, beta_schedule=beta_schedule, **small)

    def predict_without_detail(
        self,
        noisy: torch.Tensor,
        timesteps: torch.Tensor,
        class_labels: torch.Tensor,
        place_map: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """As in `Denoiser`."""
        abar = self.alpha_bar(timesteps).double().reshape(-1, 1, 1, 1)
        mean = (class_labels.double() @ torch.tensor(MEANS).double()).reshape(-1, 1, 1, 1)
        x = noisy.double()
        clean = mean + STD**2 * abar.sqrt() / (STD**2 * abar + 1 - abar) * (x - abar.sqrt() * mean)
        prediction = from_clean(clean, x, abar, self.config["prediction_type"])
        return (prediction * (1 + self.config["error"])).float()


def sample_oracle(scheduler: Any, steps: int, **settings: Any) -> list[torch.Tensor]:
    """8 images of each of the two labels."""
    rows, sampling = torch.eye(2).repeat_interleave(8, dim=0), Sampling(scheduler, steps)
    return list(sample(GaussianOracle(**settings), rows, image_seeds(0, 16), sampling).chunk(2))


def check_distribution(images: list[torch.Tensor], tolerance: float = 0.1) -> None:
    """The images of each label have its mean and its deviation, up to this share."""
    for images_of_label, mean in zip(images, MEANS, strict=True):
        assert images_of_label.mean().item() == pytest.approx(mean, abs=0.012)
        assert images_of_label.std().item() == pytest.approx(STD, rel=tolerance)
