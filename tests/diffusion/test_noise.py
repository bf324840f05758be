"""Noise levels by their formula; every prediction implies the clean image that it was made of, and back."""

import math

import pytest
import torch

from lab_ddpm.diffusion.noise import add_noise, alphas_cumprod, from_clean, to_clean, training_target


@pytest.fixture
def images() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    clean_images, noise = torch.randn(2, 4, 3, 8, 8, generator=generator, dtype=torch.float64)
    return clean_images, noise


@pytest.mark.parametrize("level", [1e-8, 0.3, 0.9999])
def test_the_definitions(images: tuple[torch.Tensor, torch.Tensor], level: float) -> None:
    clean_images, noise = images
    alpha_bar = torch.tensor(level, dtype=torch.float64)
    noisy_samples = alpha_bar.sqrt() * clean_images + (1 - alpha_bar).sqrt() * noise
    assert torch.allclose(add_noise(clean_images, noise, alpha_bar), noisy_samples)
    velocity = alpha_bar.sqrt() * noise - (1 - alpha_bar).sqrt() * clean_images
    for prediction_type, expected in (("epsilon", noise), ("sample", clean_images), ("v_prediction", velocity)):
        prediction = from_clean(clean_images, noisy_samples, alpha_bar, prediction_type)
        assert torch.allclose(prediction, expected)
        assert torch.allclose(training_target(clean_images, noise, alpha_bar, prediction_type), expected)
        assert torch.allclose(to_clean(prediction, noisy_samples, alpha_bar, prediction_type), clean_images)


def test_the_schedule_is_the_squared_cosine_of_the_paper() -> None:
    def level(t: float) -> float:  # arXiv:2102.09672, eq. 17
        return math.cos((t / 1000 + 0.008) / 1.008 * math.pi / 2) ** 2

    levels = alphas_cumprod(1000, "squaredcos_cap_v2")
    for t in (0, 1, 250, 500, 900):
        assert levels[t].item() == pytest.approx(level(t + 1) / level(0), rel=1e-4)
