"""Noising, targets, losses and weights against their formulas; timesteps against their distributions."""

import math
from statistics import NormalDist
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import DDPMScheduler
from hypothesis import given
from hypothesis import strategies as st

from lab_ddpm.diffusion.loss_weights import Objective, loss_weights
from lab_ddpm.tools.errors import UserError

T = 1000


def noise_scheduler(prediction_type: Any = "epsilon") -> DDPMScheduler:
    return DDPMScheduler(num_train_timesteps=T, beta_schedule="squaredcos_cap_v2", prediction_type=prediction_type)


ABAR = noise_scheduler().alphas_cumprod.double()
SNR = ABAR / (1 - ABAR)


@pytest.fixture
def batch() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Prediction, clean pictures, noise and timesteps of four pictures."""
    random = torch.Generator().manual_seed(0)
    prediction, clean_images, noise = torch.randn(3, 4, 3, 5, 5, generator=random)
    return prediction, clean_images, noise, torch.tensor([0, 300, 700, T - 1])


def test_the_schedule_is_the_squared_cosine_of_the_paper() -> None:
    def level(t: float) -> float:  # arXiv:2102.09672, eq. 17
        return math.cos((t / T + 0.008) / 1.008 * math.pi / 2) ** 2

    for t in (0, 1, 250, 500, 900):
        assert ABAR[t].item() == pytest.approx(level(t + 1) / level(0), rel=1e-4)


def test_noise_is_added_by_the_formula(batch: tuple) -> None:
    _, clean_images, noise, timesteps = batch
    abar = ABAR[timesteps].reshape(-1, 1, 1, 1)
    expected = abar.sqrt() * clean_images + (1 - abar).sqrt() * noise
    noisy_images = Objective(noise_scheduler()).add_noise(clean_images, noise, timesteps)
    torch.testing.assert_close(noisy_images.double(), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("prediction_type", ["epsilon", "sample", "v_prediction"])
@pytest.mark.parametrize("loss", ["mse", "l1", "huber"])
@pytest.mark.parametrize("loss_weight", ["none", "min_snr"])
def test_the_loss_is_the_weighted_mean_over_the_pictures(
    batch: tuple, prediction_type: str, loss: str, loss_weight: str
) -> None:
    prediction, clean_images, noise, timesteps = batch
    weights = loss_weights(ABAR, prediction_type, loss_weight, gamma=5.0).numpy()
    total = 0.0
    for i, t in enumerate(timesteps.tolist()):
        signal, sigma = math.sqrt(ABAR[t]), math.sqrt(1 - ABAR[t])
        x, eps = clean_images[i].double().numpy(), noise[i].double().numpy()
        target = {"epsilon": eps, "sample": x, "v_prediction": signal * eps - sigma * x}[prediction_type]
        error = np.abs(prediction[i].double().numpy() - target)
        distance = {"mse": error**2, "l1": error, "huber": np.where(error < 1, error**2 / 2, error - 0.5)}[loss]
        total += weights[t] * distance.mean() / len(timesteps)
    objective = Objective(noise_scheduler(prediction_type), loss, loss_weight)
    assert objective(*batch).item() == pytest.approx(total, rel=1e-4)


def test_a_perfect_prediction_has_no_loss_and_gradients_reach_any_other(batch: tuple) -> None:
    prediction, clean_images, noise, timesteps = batch
    objective = Objective(noise_scheduler(), loss_weight="min_snr")
    assert objective(noise, clean_images, noise, timesteps) == 0
    objective(prediction.requires_grad_(), clean_images, noise, timesteps).backward()
    assert (prediction.grad.flatten(1).norm(dim=1) > 0).all()


MIN_SNR = {
    "epsilon": SNR.clamp(max=5) / SNR,
    "sample": SNR.clamp(max=5),
    "v_prediction": SNR.clamp(max=5) / (SNR + 1),
}
CLAMPED_SNR = {
    "epsilon": (1 / (1 - ABAR)).clamp(max=8) / SNR,
    "sample": (1 / (1 - ABAR)).clamp(max=8),
    "v_prediction": (1 / (1 - ABAR)).clamp(max=8) / (SNR + 1),
}
P2 = {
    "epsilon": 1 / (1 + SNR) ** 0.5,
    "sample": SNR / (1 + SNR) ** 0.5,
    "v_prediction": SNR / (1 + SNR) ** 1.5,
}


@pytest.mark.parametrize(
    ("loss_weight", "gamma", "expected"),
    [("min_snr", 5.0, MIN_SNR), ("clamped_snr", 8.0, CLAMPED_SNR), ("p2", 0.5, P2)],
    ids=["min_snr", "clamped_snr", "p2"],
)
@pytest.mark.parametrize("prediction_type", ["epsilon", "sample", "v_prediction"])
def test_the_weights_are_those_of_the_papers(
    loss_weight: str, gamma: float, expected: dict[str, torch.Tensor], prediction_type: str
) -> None:
    weights = loss_weights(ABAR, prediction_type, loss_weight, gamma)
    torch.testing.assert_close(weights.double(), expected[prediction_type], rtol=1e-5, atol=1e-12)
    assert torch.isfinite(weights).all()


@pytest.mark.parametrize("prediction_type", ["epsilon", "sample", "v_prediction"])
def test_without_a_weight_every_timestep_counts_the_same(prediction_type: str) -> None:
    assert (loss_weights(ABAR, prediction_type, "none", 5.0) == 1).all()


@pytest.mark.parametrize("loss_weight", ["min_snr", "clamped_snr", "p2"])
def test_a_weight_means_the_same_for_every_prediction_type(loss_weight: str) -> None:
    # The three errors of one estimate of the clean picture: 1, sqrt(SNR) and sqrt(SNR + 1) times its error.
    sample, epsilon, v = (
        loss_weights(ABAR, kind, loss_weight, 5.0).double() for kind in ("sample", "epsilon", "v_prediction")
    )
    torch.testing.assert_close(epsilon * SNR, sample, rtol=1e-5, atol=0)
    torch.testing.assert_close(v * (SNR + 1), sample, rtol=1e-5, atol=0)


def test_uniform_timesteps_are_exactly_uniform() -> None:
    uniforms = (torch.arange(4 * T, dtype=torch.float64) + 0.5) / (4 * T)
    timesteps = Objective(noise_scheduler()).timesteps(uniforms)
    assert torch.bincount(timesteps).tolist() == [4] * T


@pytest.mark.parametrize(("mean", "std"), [(0.0, 1.0), (0.3, 1.2), (-1.0, 0.5)])
def test_logit_normal_timesteps_have_the_quantiles_of_their_distribution(mean: float, std: float) -> None:
    objective = Objective(noise_scheduler(), timestep_density="logit_normal", logit_mean=mean, logit_std=std)
    quantiles = [0.001, 0.05, 0.25, 0.5, 0.75, 0.95, 0.999]
    for quantile in quantiles:
        fraction = 1 / (1 + math.exp(-NormalDist(mean, std).inv_cdf(quantile)))
        (timestep,) = objective.timesteps(torch.tensor([quantile])).tolist()
        assert timestep == pytest.approx(fraction * T, abs=1)


@given(
    st.lists(st.floats(0, 1, width=32), min_size=1, max_size=8),
    st.sampled_from(["uniform", "logit_normal"]),
    st.floats(-5, 5),
    st.floats(0.01, 10),
)
def test_timesteps_are_never_out_of_range(uniforms: list[float], density: str, mean: float, std: float) -> None:
    objective = Objective(noise_scheduler(), timestep_density=density, logit_mean=mean, logit_std=std)
    timesteps = objective.timesteps(torch.tensor([0.0, 1.0, *uniforms]))
    assert timesteps.dtype == torch.int64
    assert timesteps.min() >= 0
    assert timesteps.max() < T


@pytest.mark.parametrize("key", ["loss", "loss_weight", "timestep_density"])
def test_an_unknown_choice_is_refused_by_name(key: str) -> None:
    wrong: dict[str, Any] = {key: "other"}
    with pytest.raises(UserError, match=rf"`{key}` must be one of \[.*\], got 'other'"):
        Objective(noise_scheduler(), **wrong)
