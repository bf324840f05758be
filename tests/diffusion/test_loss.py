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
from lab_ddpm.diffusion.layout import make_layout, read_layout
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
    """Four images of the oracle's two labels, at the four timesteps, with all labels kept."""
    random = torch.Generator().manual_seed(0)
    clean_images, noise = torch.randn(2, 4, 3, 16, 16, generator=random)
    uniforms = torch.stack([(torch.tensor(TIMESTEPS) + 0.5) / T, torch.ones(4), torch.ones(4)], dim=1)
    return Sample(
        clean_images=clean_images,
        masks=torch.arange(4).repeat(16).reshape(1, 1, 8, 8).repeat(4, 1, 2, 2) % 3,
        class_labels=torch.eye(2).repeat(2, 1),
        noise=noise,
        uniforms=uniforms,
    )


@pytest.mark.parametrize("prediction_type", ["epsilon", "sample", "v_prediction"])
@pytest.mark.parametrize("loss", ["mse", "l1", "huber"])
@pytest.mark.parametrize("loss_weight", ["none", "min_snr"])
@torch.no_grad()
def test_the_loss_is_the_weighted_mean_over_the_images(
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
    assert list(found.terms) == ["image"]
    assert found.total.item() == pytest.approx(total, rel=1e-4)


@torch.no_grad()
def test_the_layout_is_a_second_term_on_the_scale_of_the_image(batch: Sample) -> None:
    """A network that predicts zeros is wrong by the clean sample itself."""
    denoiser = tiny_denoiser(labels=("dark", "bright"), prediction_type="sample", patch_size=2, layout_scale=3.0)
    for parameter in denoiser.unet.conv_out.parameters():
        parameter.zero_()
    batch["noise"] = torch.randn(4, *denoiser.space.shape, generator=torch.Generator().manual_seed(0))
    terms = denoiser(batch).terms
    layout = make_layout(batch["masks"], 2, 2)
    assert terms["image"].item() == pytest.approx(batch["clean_images"].square().mean().item(), rel=1e-5)
    assert terms["layout"].item() == pytest.approx(layout.square().mean().item() / 3, rel=1e-5)


@torch.no_grad()
def test_the_layout_is_dropped_where_the_batch_says_so(batch: Sample) -> None:
    """No mask reaches the prediction then, and the layout is asked for all the same."""
    denoiser = tiny_denoiser(labels=("dark", "bright"), prediction_type="sample", layout_scale=2.0, layout_dropout=0.25)
    batch["noise"] = torch.randn(4, *denoiser.space.shape, generator=torch.Generator().manual_seed(0))

    def images_with(masks: torch.Tensor, uniform: float) -> float:
        uniforms = batch["uniforms"].clone()
        uniforms[:, 2] = uniform
        terms = denoiser(Sample(**{**batch, "masks": masks, "uniforms": uniforms})).terms
        assert terms["layout"] > 0
        return terms["image"].item()

    other = (batch["masks"] + 1) % 3
    assert images_with(batch["masks"], 0.2) == images_with(other, 0.2)
    assert images_with(batch["masks"], 0.25) != images_with(other, 0.25)
    assert images_with(batch["masks"], 0.2) != images_with(batch["masks"], 0.25)


def test_the_total_is_the_sum_of_the_terms_and_gradients_reach_all() -> None:
    first, second = torch.tensor(2.0, requires_grad=True), torch.tensor(3.0, requires_grad=True)
    total = Loss({"image": 2 * first, "layout": second}).total
    total.backward()
    assert (total.item(), first.grad, second.grad) == (7.0, 2.0, 1.0)


def test_the_best_network_has_the_loss_of_its_posterior() -> None:
    """The oracle's error of x_0 has the variance s^2 (1 - abar) / (s^2 abar + 1 - abar)."""
    random = torch.Generator().manual_seed(0)
    labels = torch.eye(2).repeat(500, 1)
    clean = (labels @ torch.tensor([-0.3, 0.4])).reshape(-1, 1, 1, 1) + 0.15 * torch.randn(
        1000, 3, 16, 16, generator=random
    )
    uniforms = torch.tensor([0.4005, 1, 1]).repeat(1000, 1)
    noise = torch.randn(clean.shape, generator=random)
    batch = Sample(clean_images=clean, masks=torch.empty(0), class_labels=labels, noise=noise, uniforms=uniforms)
    expected = 0.15**2 * (1 - ABAR[400]) / (0.15**2 * ABAR[400] + 1 - ABAR[400])
    assert GaussianOracle("sample")(batch).total.item() == pytest.approx(expected.item(), rel=0.01)


@torch.no_grad()
def test_labels_are_dropped_where_the_batch_says_so(batch: Sample) -> None:
    denoiser = tiny_denoiser(labels=("dark", "bright"), condition_dropout=0.25)
    kept, dropped, unlabelled = (dict(batch) for _ in range(3))
    dropped["uniforms"], kept["uniforms"] = batch["uniforms"].clone(), batch["uniforms"].clone()
    dropped["uniforms"][:, 1], kept["uniforms"][:, 1] = 0.2, 0.25
    unlabelled["class_labels"] = torch.zeros(4, 2)
    losses = [denoiser(each).total.item() for each in (batch, kept, dropped, unlabelled)]
    assert losses[0] == losses[1]
    assert losses[2] == losses[3]
    assert losses[0] != losses[2]


@pytest.mark.parametrize("layout_scale", [0.0, 2.0])
def test_eight_images_are_learnt_and_sampled(layout_scale: float) -> None:
    """300 steps on eight images of eight labels: the samples of each label land on its image, and on its mask."""
    torch.manual_seed(0)
    labels = OBJECTS[:8]
    coarse = torch.rand(8, 3, 4, 4, generator=torch.Generator().manual_seed(3))
    images = torch.nn.functional.interpolate(coarse, scale_factor=4, mode="nearest") * 1.6 - 0.8
    masks = (coarse[:, :1] > 0.5) * torch.arange(1, 9).reshape(8, 1, 1, 1)
    masks = masks.repeat_interleave(4, dim=2).repeat_interleave(4, dim=3)
    denoiser = Denoiser(
        labels=labels,
        layout_scale=layout_scale,
        sample_size=16,
        patch_size=4,
        block_out_channels=(64, 64),
        layers_per_block=1,
        attention_levels=(),
        prediction_type="sample",
        condition_dropout=0.1,
    )
    optimizer = torch.optim.AdamW(denoiser.parameters(), lr=2e-3)
    decay = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 300)  # or rounding decides what the last step spoils
    random = torch.Generator().manual_seed(0)
    for _ in range(300):
        chosen = torch.randint(8, (32,), generator=random)
        batch = Sample(
            clean_images=images[chosen],
            masks=masks[chosen],
            class_labels=torch.eye(8)[chosen],
            noise=torch.randn(32, *denoiser.space.shape, generator=random),
            uniforms=torch.rand(32, 3, generator=random),
        )
        optimizer.zero_grad()
        denoiser(batch).total.backward()
        optimizer.step()
        decay.step()
    pipeline = LabelConditionalPipeline(denoiser.eval(), "ddim")
    pipeline.set_progress_bar_config(disable=True)
    generators = [torch.Generator().manual_seed(index) for index in range(8)]
    drawn = pipeline.sample(torch.eye(8), generators, 20, guidance_scale=2.0)
    samples = denoiser.space.decode(drawn)
    distances = (samples[:, None] - images).square().mean(dim=(2, 3, 4)).sqrt()
    assert distances.argmin(dim=1).tolist() == list(range(8))
    assert distances.diagonal().max() < 0.12
    others = distances + torch.eye(8) * 10
    assert (distances.diagonal() < others.min(dim=1).values / 3).all()
    if layout_scale:
        assert read_layout(denoiser.space.layout(drawn), 8).eq(masks[:, :, ::4, ::4]).float().mean() > 0.95


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
    # The three errors of one estimate of the clean image: 1, sqrt(SNR) and sqrt(SNR + 1) times its error.
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
