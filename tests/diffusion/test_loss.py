"""Targets, losses and weights against their formulas; timesteps against their distributions; learning."""

import math
from statistics import NormalDist
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from conftest import tiny_denoiser
from gaussian_oracle import GaussianOracle
from lab_ddpm.data.batches import Sample
from lab_ddpm.data.iclevr import OBJECTS
from lab_ddpm.diffusion.denoiser import Denoiser, Loss
from lab_ddpm.diffusion.loss_weights import draw_timesteps, loss_weights
from lab_ddpm.diffusion.noise import add_noise, alphas_cumprod
from lab_ddpm.diffusion.pipeline import LabelConditionalPipeline
from lab_ddpm.tools.errors import UserError

T = 1000
ABAR = alphas_cumprod(T, "squaredcos_cap_v2").double()
SNR = ABAR / (1 - ABAR)
TIMESTEPS = [0, 300, 700, T - 1]


@pytest.fixture
def batch() -> Sample:
    """Four pictures of the oracle's two labels, at the four timesteps, with all labels kept."""
    random = torch.Generator().manual_seed(0)
    clean_images, noise = torch.randn(2, 4, 3, 16, 16, generator=random)
    uniforms = torch.stack([(torch.tensor(TIMESTEPS) + 0.5) / T, torch.ones(4)], dim=1)
    return Sample(clean_images=clean_images, class_labels=torch.eye(2).repeat(2, 1), noise=noise, uniforms=uniforms)


@pytest.mark.parametrize("prediction_type", ["epsilon", "sample", "v_prediction"])
@pytest.mark.parametrize("loss", ["mse", "l1", "huber"])
@pytest.mark.parametrize("loss_weight", ["none", "min_snr"])
@torch.no_grad()
def test_the_loss_is_the_weighted_mean_over_the_pictures(
    batch: Sample, prediction_type: str, loss: str, loss_weight: str
) -> None:
    denoiser = tiny_denoiser(
        labels=("dark", "bright"),
        prediction_type=prediction_type,
        loss=loss,
        loss_weight=loss_weight,
        loss_weight_gamma=5.0 if loss_weight == "min_snr" else None,
    )
    weights = loss_weights(ABAR, prediction_type, loss_weight, gamma=5.0).numpy()
    level = ABAR[TIMESTEPS].reshape(-1, 1, 1, 1).float()
    noisy = add_noise(batch["clean_images"], batch["noise"], level)
    predictions = denoiser.predict(noisy, torch.tensor(TIMESTEPS), batch["class_labels"]).double().numpy()
    total = 0.0
    for i, t in enumerate(TIMESTEPS):
        signal, sigma = math.sqrt(ABAR[t]), math.sqrt(1 - ABAR[t])
        x, eps = batch["clean_images"][i].double().numpy(), batch["noise"][i].double().numpy()
        target = {"epsilon": eps, "sample": x, "v_prediction": signal * eps - sigma * x}[prediction_type]
        error = np.abs(predictions[i] - target)
        distance = {"mse": error**2, "l1": error, "huber": np.where(error < 1, error**2 / 2, error - 0.5)}[loss]
        total += weights[t] * distance.mean() / len(TIMESTEPS)
    found = denoiser(batch)
    assert list(found.terms) == ["picture"]
    assert found.total.item() == pytest.approx(total, rel=1e-4)


def test_the_total_is_the_sum_of_the_terms_and_gradients_reach_all() -> None:
    first, second = torch.tensor(2.0, requires_grad=True), torch.tensor(3.0, requires_grad=True)
    total = Loss({"picture": 2 * first, "layout": second}).total
    total.backward()
    assert (total.item(), first.grad, second.grad) == (7.0, 2.0, 1.0)


def test_the_best_network_has_the_loss_of_its_posterior() -> None:
    """The oracle's error of x_0 has the variance s^2 (1 - abar) / (s^2 abar + 1 - abar)."""
    random = torch.Generator().manual_seed(0)
    labels = torch.eye(2).repeat(500, 1)
    clean = (labels @ torch.tensor([-0.3, 0.4])).reshape(-1, 1, 1, 1) + 0.15 * torch.randn(
        1000, 3, 16, 16, generator=random
    )
    uniforms = torch.stack([torch.full((1000,), 0.4005), torch.ones(1000)], dim=1)
    noise = torch.randn(clean.shape, generator=random)
    batch = Sample(clean_images=clean, class_labels=labels, noise=noise, uniforms=uniforms)
    expected = 0.15**2 * (1 - ABAR[400]) / (0.15**2 * ABAR[400] + 1 - ABAR[400])
    assert GaussianOracle("sample")(batch).total.item() == pytest.approx(expected.item(), rel=0.01)


@torch.no_grad()
def test_labels_are_dropped_where_the_batch_says_so(batch: Sample) -> None:
    denoiser = tiny_denoiser(labels=("dark", "bright"), condition_dropout=0.25)
    kept, dropped, unlabelled = (dict(batch) for _ in range(3))
    dropped["uniforms"] = torch.stack([batch["uniforms"][:, 0], torch.full((4,), 0.2)], dim=1)
    kept["uniforms"] = torch.stack([batch["uniforms"][:, 0], torch.full((4,), 0.25)], dim=1)
    unlabelled["class_labels"] = torch.zeros(4, 2)
    losses = [denoiser(each).total.item() for each in (batch, kept, dropped, unlabelled)]
    assert losses[0] == losses[1]
    assert losses[2] == losses[3]
    assert losses[0] != losses[2]


def test_eight_pictures_are_learnt_and_sampled() -> None:
    """200 steps on eight pictures of eight labels: the samples of each label land on its picture."""
    torch.manual_seed(0)
    labels = OBJECTS[:8]
    coarse = torch.rand(8, 3, 4, 4, generator=torch.Generator().manual_seed(3))
    pictures = torch.nn.functional.interpolate(coarse, scale_factor=4, mode="nearest") * 1.6 - 0.8
    denoiser = Denoiser(
        labels=labels,
        sample_size=16,
        patch_size=4,
        block_out_channels=(64, 64),
        layers_per_block=1,
        attention_levels=(),
        prediction_type="sample",
        loss_weight="clamped_snr",
        condition_dropout=0.1,
    )
    optimizer = torch.optim.AdamW(denoiser.parameters(), lr=2e-3)
    random = torch.Generator().manual_seed(0)
    for _ in range(200):
        chosen = torch.randint(8, (32,), generator=random)
        batch = Sample(
            clean_images=pictures[chosen],
            class_labels=torch.eye(8)[chosen],
            noise=torch.randn(32, 3, 16, 16, generator=random),
            uniforms=torch.rand(32, 2, generator=random),
        )
        optimizer.zero_grad()
        denoiser(batch).total.backward()
        optimizer.step()
    pipeline = LabelConditionalPipeline(denoiser.eval(), "ddim")
    pipeline.set_progress_bar_config(disable=True)
    samples = pipeline(list(labels), 20, seed=0, output_type="pt").images * 2 - 1
    distances = (samples[:, None] - pictures).square().mean(dim=(2, 3, 4)).sqrt()
    assert distances.argmin(dim=1).tolist() == list(range(8))
    assert distances.diagonal().max() < 0.12
    others = distances + torch.eye(8) * 10
    assert (distances.diagonal() < others.min(dim=1).values / 3).all()


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
    assert torch.bincount(draw_timesteps(uniforms, T, "uniform")).tolist() == [4] * T


@pytest.mark.parametrize(("mean", "std"), [(0.0, 1.0), (0.3, 1.2), (-1.0, 0.5)])
def test_logit_normal_timesteps_have_the_quantiles_of_their_distribution(mean: float, std: float) -> None:
    for quantile in (0.001, 0.05, 0.25, 0.5, 0.75, 0.95, 0.999):
        fraction = 1 / (1 + math.exp(-NormalDist(mean, std).inv_cdf(quantile)))
        (timestep,) = draw_timesteps(torch.tensor([quantile]), T, "logit_normal", mean, std).tolist()
        assert timestep == pytest.approx(fraction * T, abs=1)


@given(
    st.lists(st.floats(0, 1, width=32), min_size=1, max_size=8),
    st.sampled_from(["uniform", "logit_normal"]),
    st.floats(-5, 5),
    st.floats(0.01, 10),
)
def test_timesteps_are_never_out_of_range(uniforms: list[float], density: str, mean: float, std: float) -> None:
    timesteps = draw_timesteps(torch.tensor([0.0, 1.0, *uniforms]), T, density, mean, std)
    assert timesteps.dtype == torch.int64
    assert timesteps.min() >= 0
    assert timesteps.max() < T


@pytest.mark.parametrize("key", ["loss", "loss_weight", "timestep_density", "prediction_type", "beta_schedule"])
def test_an_unknown_choice_is_refused_by_name(key: str) -> None:
    wrong: dict[str, Any] = {key: "other"}
    with pytest.raises(UserError, match=rf"`{key}` must be one of \[.*\], got 'other'"):
        tiny_denoiser(**wrong)
