"""Every prediction implies the clean picture that it was made of, and the other way round."""

import pytest
import torch

from lab_ddpm.diffusion.noise import PREDICTION_TYPES, from_clean, to_clean


@pytest.fixture
def pictures() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    clean_images, noise = torch.randn(2, 4, 3, 8, 8, generator=generator, dtype=torch.float64)
    return clean_images, noise


@pytest.mark.parametrize("level", [1e-8, 0.3, 0.9999])
def test_the_definitions(pictures: tuple[torch.Tensor, torch.Tensor], level: float) -> None:
    clean_images, noise = pictures
    alpha_bar = torch.tensor(level, dtype=torch.float64)
    noisy_images = alpha_bar.sqrt() * clean_images + (1 - alpha_bar).sqrt() * noise
    velocity = alpha_bar.sqrt() * noise - (1 - alpha_bar).sqrt() * clean_images
    for prediction_type, expected in (("epsilon", noise), ("sample", clean_images), ("v_prediction", velocity)):
        prediction = from_clean(clean_images, noisy_images, alpha_bar, prediction_type)
        assert torch.allclose(prediction, expected)
        assert torch.allclose(to_clean(prediction, noisy_images, alpha_bar, prediction_type), clean_images)


def test_every_prediction_type_of_the_config_is_known() -> None:
    assert PREDICTION_TYPES == ("epsilon", "sample", "v_prediction")
