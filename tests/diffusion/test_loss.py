"""Targets, errors and weights against their formulas; timesteps against their distributions; learning."""

import math
from statistics import NormalDist
from typing import Any

import numpy as np
import pytest
import torch

from conftest import tiny_batch, tiny_denoiser
from gaussian_oracle import GaussianOracle
from lab_ddpm.data.batches import FOR_LAYOUT, Batch
from lab_ddpm.data.iclevr import OBJECTS
from lab_ddpm.diffusion.denoiser import Denoiser
from lab_ddpm.diffusion.layout import make_layout, read_layout
from lab_ddpm.diffusion.loss import DenoisingLoss, loss_weights
from lab_ddpm.diffusion.noise import make_noise_scheduler
from lab_ddpm.diffusion.sampling import Sampling, sample
from lab_ddpm.tools.errors import UserError

T = 1000
ABAR = make_noise_scheduler(T, "squaredcos_cap_v2").alphas_cumprod.double()
SNR = ABAR / (1 - ABAR)
TIMESTEPS = [0, 300, 700, T - 1]


@pytest.fixture
def batch() -> Batch:
    """Four images of two labels, at the four timesteps, with all labels kept."""
    random = torch.Generator().manual_seed(0)
    clean_images, noise = torch.randn(2, 4, 3, 16, 16, generator=random)
    uniforms = torch.stack([(torch.tensor(TIMESTEPS) + 0.5) / T, *torch.ones(2, 4), *torch.zeros(2, 4)], dim=1)
    return tiny_batch(
        tiny_denoiser(labels=("dark", "bright")),
        clean_images,
        masks=torch.arange(4).repeat(16).reshape(1, 1, 8, 8).repeat(4, 1, 2, 2) % 3,
        class_labels=torch.eye(2).repeat(2, 1),
        noise=noise,
        uniforms=uniforms,
    )


@pytest.mark.parametrize("prediction_type", ["epsilon", "sample", "v_prediction"])
@pytest.mark.parametrize(("name", "weight"), [("mse", "min_snr"), ("l1", "none"), ("huber", "none")])
@torch.no_grad()
def test_the_loss_is_the_weighted_mean_over_the_images(
    batch: Batch, prediction_type: str, name: Any, weight: Any
) -> None:
    denoiser = tiny_denoiser(labels=("dark", "bright"), prediction_type=prediction_type)
    weights = loss_weights(ABAR, prediction_type, weight, gamma=5.0)
    timesteps = torch.tensor(TIMESTEPS)
    level = ABAR[TIMESTEPS].reshape(-1, 1, 1, 1).float()
    noisy = level.sqrt() * batch["clean_images"] + (1 - level).sqrt() * batch["noise"]
    predictions = denoiser(noisy, timesteps, batch["class_labels"]).double().numpy()
    total = 0.0
    for i, t in enumerate(TIMESTEPS):
        signal, sigma = math.sqrt(ABAR[t]), math.sqrt(1 - ABAR[t])
        x, eps = batch["clean_images"][i].double().numpy(), batch["noise"][i].double().numpy()
        target = {"epsilon": eps, "sample": x, "v_prediction": signal * eps - sigma * x}[prediction_type]
        error = np.abs(predictions[i] - target)
        distance = {"mse": error**2, "l1": error, "huber": np.where(error < 1, error**2 / 2, error - 0.5)}[name]
        total += weights[t].item() * distance.mean() / len(TIMESTEPS)
    terms = DenoisingLoss(name, weight)(denoiser, batch)
    assert list(terms) == ["image"]
    assert terms["image"].item() == pytest.approx(total, rel=1e-4)


@torch.no_grad()
def test_the_layout_is_a_second_term_on_the_scale_of_the_image(batch: Batch) -> None:
    """A network that predicts zeros is wrong by the clean sample itself."""
    denoiser = tiny_denoiser(labels=("dark", "bright"), prediction_type="sample", patch_size=2, layout_scale=3.0)
    for parameter in denoiser.unet.conv_out.parameters():
        parameter.zero_()
    batch["noise"] = torch.randn(4, *denoiser.space.shape, generator=torch.Generator().manual_seed(0))
    terms = DenoisingLoss()(denoiser, batch)
    layout = make_layout(batch["masks"], 2, 2)
    assert terms["image"].item() == pytest.approx(batch["clean_images"].square().mean().item(), rel=1e-5)
    assert terms["layout"].item() == pytest.approx(layout.square().mean().item() / 3, rel=1e-5)


@torch.no_grad()
def test_masks_may_be_finer_than_the_image(batch: Batch) -> None:
    denoiser = tiny_denoiser(labels=("dark", "bright"), prediction_type="sample", patch_size=2, layout_scale=3.0)
    batch["noise"] = torch.randn(4, *denoiser.space.shape, generator=torch.Generator().manual_seed(0))
    finer = batch["masks"].repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
    assert DenoisingLoss()(denoiser, Batch(**{**batch, "masks": finer})) == DenoisingLoss()(denoiser, batch)


@torch.no_grad()
def test_errors_on_told_objects_and_beside_them_count_more(batch: Batch) -> None:
    """A network that predicts zeros is wrong by the clean sample itself, in the whole image and in the detail."""
    settings = {"patch_size": 2, "layout_scale": 3.0, "places_dropout": 0.2, "detail_channels": [4]}
    denoiser = tiny_denoiser(labels=("dark", "bright"), prediction_type="sample", **settings)
    for parameter in denoiser.parameters():
        parameter.zero_()
    batch["noise"] = torch.randn(4, *denoiser.space.shape, generator=torch.Generator().manual_seed(0))
    masks, images = torch.zeros_like(batch["masks"]), batch["clean_images"]
    masks[:2, 0, 4:6, 4:6] = 1
    uniforms = batch["uniforms"].clone()
    uniforms[:, FOR_LAYOUT] = torch.tensor([0.2, 0.1, 0.2, 0.2])  # the network is told no places in the second image
    weights = torch.ones_like(images)
    weights[0, :, 3:7, 3:7] = 5
    terms = DenoisingLoss(object_weight=5)(denoiser, Batch(**{**batch, "masks": masks, "uniforms": uniforms}))
    assert terms["image"].item() == pytest.approx((weights * images.square()).mean().item(), rel=1e-5)
    of_first = (weights * images.square())[0].mean()
    assert terms["detail"].item() == pytest.approx(of_first.item(), rel=1e-5)  # it learns from every fourth image


@torch.no_grad()
def test_the_layout_is_dropped_where_the_batch_says_so(batch: Batch) -> None:
    """No mask reaches the prediction then, and the layout is a term all the same."""
    dropouts = {"layout_dropout": 0.25, "places_dropout": 0.25}
    denoiser = tiny_denoiser(labels=("dark", "bright"), prediction_type="sample", layout_scale=2.0, **dropouts)
    batch["noise"] = torch.randn(4, *denoiser.space.shape, generator=torch.Generator().manual_seed(0))

    def image_term(masks: torch.Tensor, uniform: float) -> float:
        uniforms = batch["uniforms"].clone()
        uniforms[:, 2] = uniform
        terms = DenoisingLoss()(denoiser, Batch(**{**batch, "masks": masks, "uniforms": uniforms}))
        assert terms["layout"] > 0
        return terms["image"].item()

    other = (batch["masks"] + 1) % 3
    assert image_term(batch["masks"], 0.2) == image_term(other, 0.2)
    assert image_term(batch["masks"], 0.25) != image_term(other, 0.25)


def test_the_best_network_has_the_loss_of_its_posterior() -> None:
    """The oracle's error of x_0 has the variance s^2 (1 - abar) / (s^2 abar + 1 - abar)."""
    random = torch.Generator().manual_seed(0)
    labels = torch.eye(2).repeat(500, 1)
    means = (labels @ torch.tensor([-0.3, 0.4])).reshape(-1, 1, 1, 1)
    clean = means + 0.15 * torch.randn(1000, 3, 16, 16, generator=random)
    uniforms = torch.tensor([0.4005, 1, 1]).repeat(1000, 1)
    noise = torch.randn(clean.shape, generator=random)
    oracle = GaussianOracle("sample")
    batch = tiny_batch(oracle, clean, class_labels=labels, noise=noise, uniforms=uniforms)
    expected = 0.15**2 * (1 - ABAR[400]) / (0.15**2 * ABAR[400] + 1 - ABAR[400])
    assert DenoisingLoss()(oracle, batch)["image"].item() == pytest.approx(expected.item(), rel=0.01)


@torch.no_grad()
def test_labels_are_dropped_where_the_batch_says_so(batch: Batch) -> None:
    denoiser = tiny_denoiser(labels=("dark", "bright"), condition_dropout=0.25)

    def loss(uniform: float, class_labels: torch.Tensor) -> float:
        uniforms = batch["uniforms"].clone()
        uniforms[:, 1] = uniform
        changed = Batch(**{**batch, "uniforms": uniforms, "class_labels": class_labels})
        return DenoisingLoss()(denoiser, changed)["image"].item()

    labels, nothing = batch["class_labels"], torch.zeros(4, 2)
    assert loss(0.2, labels) == loss(0.2, nothing) == loss(0.25, nothing)
    assert loss(0.25, labels) == loss(1.0, labels) != loss(0.2, labels)


def test_eight_images_are_learnt_and_sampled() -> None:
    """300 steps on eight images of eight labels: the samples of each label land on its image, and on its mask."""
    torch.manual_seed(0)
    coarse = torch.rand(8, 3, 4, 4, generator=torch.Generator().manual_seed(3))
    images = torch.nn.functional.interpolate(coarse, scale_factor=4, mode="nearest") * 1.6 - 0.8
    masks = (coarse[:, :1] > 0.5) * torch.arange(1, 9).reshape(8, 1, 1, 1)
    masks = masks.repeat_interleave(4, dim=2).repeat_interleave(4, dim=3)
    denoiser = Denoiser(
        labels=OBJECTS[:8],
        layout_scale=2.0,
        sample_size=16,
        patch_size=4,
        block_out_channels=(64, 64),
        layers_per_block=1,
        attention_levels=(),
        prediction_type="sample",
        condition_dropout=0.1,
    )
    assert denoiser.placer is not None
    denoiser.placer.outlines.fit(masks)
    loss, optimizer = DenoisingLoss(), torch.optim.AdamW(denoiser.parameters(), lr=2e-3)
    decay = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 300)  # or rounding decides what the last step spoils
    random = torch.Generator().manual_seed(0)
    for _ in range(300):
        chosen = torch.randint(8, (32,), generator=random)
        batch = tiny_batch(
            denoiser,
            images[chosen],
            masks=masks[chosen],
            class_labels=torch.eye(8)[chosen],
            noise=torch.randn(32, *denoiser.space.shape, generator=random),
            uniforms=torch.rand(32, 5, generator=random),
            place_uniforms=torch.rand(32, 9, generator=random),
        )
        optimizer.zero_grad()
        sum(loss(denoiser, batch).values()).backward()
        optimizer.step()
        decay.step()
    drawn = sample(denoiser.eval(), torch.eye(8), range(8), Sampling("ddim", 20, 2.0))
    distances = (denoiser.space.decode(drawn)[:, None] - images).square().mean(dim=(2, 3, 4)).sqrt()
    assert distances.argmin(dim=1).tolist() == list(range(8))
    assert distances.diagonal().max() < 0.12
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
    ("weight", "gamma", "expected"),
    [("min_snr", 5.0, MIN_SNR), ("clamped_snr", 8.0, CLAMPED_SNR), ("p2", 0.5, P2)],
    ids=["min_snr", "clamped_snr", "p2"],
)
@pytest.mark.parametrize("prediction_type", ["epsilon", "sample", "v_prediction"])
def test_the_weights_are_those_of_the_papers(
    weight: str, gamma: float, expected: dict[str, torch.Tensor], prediction_type: str
) -> None:
    weights = loss_weights(ABAR, prediction_type, weight, gamma)
    torch.testing.assert_close(weights.double(), expected[prediction_type], rtol=1e-5, atol=1e-12)
    assert torch.isfinite(weights).all()


@pytest.mark.parametrize("weight", ["min_snr", "clamped_snr", "p2", "none"])
def test_a_weight_means_the_same_for_every_prediction_type(weight: str) -> None:
    # The three errors of one estimate of the clean image: 1, sqrt(SNR) and sqrt(SNR + 1) times its error.
    sample, epsilon, v = (
        loss_weights(ABAR, kind, weight, 5.0).double() for kind in ("sample", "epsilon", "v_prediction")
    )
    if weight == "none":
        assert (torch.stack([sample, epsilon, v]) == 1).all()
    else:
        torch.testing.assert_close(epsilon * SNR, sample, rtol=1e-5, atol=0)
        torch.testing.assert_close(v * (SNR + 1), sample, rtol=1e-5, atol=0)


def test_uniform_timesteps_are_exactly_uniform() -> None:
    uniforms = (torch.arange(4 * T, dtype=torch.float64) + 0.5) / (4 * T)
    assert torch.bincount(DenoisingLoss().draw_timesteps(uniforms, tiny_denoiser())).tolist() == [4] * T


@pytest.mark.parametrize(("mean", "std"), [(0.0, 1.0), (0.3, 1.2), (-1.0, 0.5)])
def test_logit_normal_timesteps_have_the_quantiles_of_their_distribution(mean: float, std: float) -> None:
    loss = DenoisingLoss(timestep_density="logit_normal", logit_mean=mean, logit_std=std)
    quantiles = (0.001, 0.05, 0.25, 0.5, 0.75, 0.95, 0.999)
    expected = [T / (1 + math.exp(-NormalDist(mean, std).inv_cdf(quantile))) for quantile in quantiles]
    drawn = loss.draw_timesteps(torch.tensor([0.0, *quantiles, 1.0]), tiny_denoiser()).tolist()
    assert drawn[1:-1] == pytest.approx(expected, abs=1)
    assert (drawn[0], drawn[-1]) == (0, T - 1)


@pytest.mark.parametrize(
    ("key", "settings"),
    [
        ("name", {"name": "other"}),
        ("weight", {"weight": "other"}),
        ("timestep_density", {"timestep_density": "other"}),
        ("gamma", {"gamma": 5.0}),
        ("gamma", {"gamma": -1.0, "weight": "p2"}),
        ("logit_std", {"logit_std": 0.0}),
    ],
)
def test_what_does_not_fit_is_refused_by_name(key: str, settings: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=f"`{key}`"):
        DenoisingLoss(**settings)
