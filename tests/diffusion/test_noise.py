"""The training noise by its formula; every prediction implies the clean image that it was made of, and back."""

import math

import pytest
import torch

from lab_ddpm.diffusion.noise import alpha_bar_at, from_clean, make_noise_scheduler, to_clean


@pytest.mark.parametrize("timestep", [0, 300, 900])
def test_predictions_and_clean_images_follow_from_each_other(timestep: int) -> None:
    clean, noise = torch.randn(2, 4, 3, 8, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    scheduler, timesteps = make_noise_scheduler(1000, "squaredcos_cap_v2"), torch.full((4,), timestep)
    alpha_bar = scheduler.alphas_cumprod[timestep].double()
    noisy = alpha_bar.sqrt() * clean + (1 - alpha_bar).sqrt() * noise
    torch.testing.assert_close(scheduler.add_noise(clean, noise, timesteps), noisy)
    velocity = scheduler.get_velocity(clean, noise, timesteps)
    for prediction_type, expected in (("epsilon", noise), ("sample", clean), ("v_prediction", velocity)):
        torch.testing.assert_close(from_clean(clean, noisy, alpha_bar, prediction_type), expected)
        torch.testing.assert_close(to_clean(expected, noisy, alpha_bar, prediction_type), clean)


def test_the_schedule_is_the_squared_cosine_of_the_paper() -> None:
    def level(t: float) -> float:  # arXiv:2102.09672, eq. 17
        return math.cos((t / 1000 + 0.008) / 1.008 * math.pi / 2) ** 2

    levels = make_noise_scheduler(1000, "squaredcos_cap_v2").alphas_cumprod
    for t in (0, 1, 250, 500, 900):
        assert levels[t].item() == pytest.approx(level(t + 1) / level(0), rel=1e-4)


def test_a_level_between_two_timesteps_lies_between_theirs() -> None:
    levels = make_noise_scheduler(1000, "squaredcos_cap_v2").alphas_cumprod
    assert torch.equal(alpha_bar_at(levels, torch.tensor([500.0, 999.0])), levels[[500, 999]])
    low, high = (1 / levels[500:502] - 1).sqrt().tolist()
    between = alpha_bar_at(levels, torch.tensor(500.25)).item()
    assert between == pytest.approx(1 / ((0.75 * low + 0.25 * high) ** 2 + 1), rel=1e-5)
