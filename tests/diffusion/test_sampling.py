"""Sampling is the loop of its docstring, and refuses what does not fit."""

from typing import Any

import pytest
import torch
from diffusers import EulerDiscreteScheduler

from conftest import tiny_denoiser
from gaussian_oracle import MEANS, STD, GaussianOracle, check_distribution
from lab_ddpm.data.conditions import encode
from lab_ddpm.data.iclevr import OBJECTS
from lab_ddpm.diffusion.denoiser import Denoiser
from lab_ddpm.diffusion.sampling import (
    Known,
    Sampling,
    Start,
    effective_guidance,
    image_seeds,
    sample,
    sampling_timesteps,
)
from lab_ddpm.diffusion.scheduler_names import SCHEDULERS
from lab_ddpm.tools.errors import UserError

CLASS_LABELS = encode([("red cube",), ("red cube", "cyan sphere"), ("gray cylinder",)], OBJECTS)
SEEDS = [0, 1, 2]


@pytest.fixture(scope="module")
def denoiser() -> Denoiser:
    return tiny_denoiser(labels=OBJECTS)


def states_of(denoiser: Denoiser, sampling: Sampling, **options: Any) -> dict[int, torch.Tensor]:
    """The samples at each timestep, and the finished ones at -1."""
    seen: dict[int, torch.Tensor] = {}
    sample(denoiser, CLASS_LABELS, SEEDS, sampling, on_state=lambda t, x: seen.update({t: x.clone()}), **options)
    return seen


@torch.no_grad()
def loop_by_hand(denoiser: Denoiser, guidance_scale: float | None) -> torch.Tensor:
    """Four clipped DDIM steps (arXiv:2010.02502, eq. 12); a guided prediction is two network calls, None is one."""
    images = torch.stack([torch.randn(3, 16, 16, generator=torch.Generator().manual_seed(seed)) for seed in SEEDS])
    timesteps = [999, 749, 499, 249]
    levels = [*denoiser.noise_scheduler.alphas_cumprod[timesteps], torch.tensor(1.0)]
    for timestep, level, next_level in zip(timesteps, levels, levels[1:], strict=False):
        noise = denoiser(images, torch.tensor(timestep), CLASS_LABELS)
        if guidance_scale is not None:
            uncond = denoiser(images, torch.tensor(timestep), torch.zeros(3, 24))
            noise = uncond + guidance_scale * (noise - uncond)
        clean = ((images - (1 - level).sqrt() * noise) / level.sqrt()).clamp(-1, 1)
        noise = (images - level.sqrt() * clean) / (1 - level).sqrt()
        images = next_level.sqrt() * clean + (1 - next_level).sqrt() * noise
    return images


@pytest.mark.parametrize("guidance_scale", [1.0, 0.5, 3.0])
def test_it_is_the_loop_of_the_paper_and_guidance_of_one_is_the_unguided_model(
    denoiser: Denoiser, guidance_scale: float
) -> None:
    images = sample(denoiser, CLASS_LABELS, SEEDS, Sampling("ddim", 4, guidance_scale))
    by_hand = loop_by_hand(denoiser, None if guidance_scale == 1 else guidance_scale)
    torch.testing.assert_close(images, by_hand, atol=1e-2, rtol=0)  # float32 at t = 999


def test_rows_without_a_condition_are_not_changed_by_guidance() -> None:
    oracle, rows = GaussianOracle(), torch.tensor([[0.0, 1.0], [0.0, 0.0]])
    guided, unguided = (sample(oracle, rows, [0, 1], Sampling("ddim", 20, scale)) for scale in (2.0, 1.0))
    assert guided[0].mean() > unguided[0].mean() + 0.1
    torch.testing.assert_close(guided[1], unguided[1])


def test_guidance_costs_nothing_where_the_network_is_told_nothing(denoiser: Denoiser) -> None:
    sampling, clustered = Sampling(guidance_scale=3.0), tiny_denoiser(num_clusters=3, condition_dropout=0.1)
    assert effective_guidance(sampling, denoiser, CLASS_LABELS) == 3
    assert effective_guidance(sampling, denoiser, torch.zeros(2, 24)) == 1
    assert effective_guidance(sampling, clustered, torch.zeros(2, 0)) == 3
    start = Start(torch.randn(2, *clustered.space.shape), 999)
    assert effective_guidance(sampling, clustered, torch.zeros(2, 0), start) == 1


@pytest.mark.parametrize("name", SCHEDULERS)
def test_images_are_in_range_and_depend_on_their_seed_alone(name: str) -> None:
    model = tiny_denoiser(labels=OBJECTS, prediction_type="sample")
    images = sample(model, CLASS_LABELS, SEEDS, Sampling(name, 2))
    assert images.abs().max() <= 1
    alone = sample(model, CLASS_LABELS[1:2], SEEDS[1:2], Sampling(name, 2))
    torch.testing.assert_close(alone, images[1:2], atol=1e-4, rtol=1e-4)
    assert not torch.allclose(sample(model, CLASS_LABELS[1:2], [7], Sampling(name, 2)), alone, atol=0.1)


def test_who_watches_sees_every_state_and_may_change_it(denoiser: Denoiser) -> None:
    seen = states_of(denoiser, Sampling("ddim", 4))
    assert list(seen) == [999, 749, 499, 249, -1]
    noise = torch.stack([torch.randn(3, 16, 16, generator=torch.Generator().manual_seed(seed)) for seed in SEEDS])
    assert torch.equal(seen[999], noise)
    changed = sample(
        denoiser, CLASS_LABELS, SEEDS, Sampling("ddim", 4), on_state=lambda t, _: seen[499] if t == 499 else None
    )
    assert torch.equal(changed, seen[-1])
    assert not sample(denoiser, CLASS_LABELS, SEEDS, Sampling("ddim", 4), on_state=lambda _, x: 0 * x).any()


@pytest.mark.parametrize("name", ["ddim", "euler"])
def test_from_the_middle_it_goes_on_from_noisy_samples(denoiser: Denoiser, name: str) -> None:
    whole = states_of(denoiser, Sampling(name, 4))
    rest = sample(denoiser, CLASS_LABELS, SEEDS, Sampling(name, 4), start=Start(whole[499], 520))
    torch.testing.assert_close(rest, whole[-1], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", SCHEDULERS)
def test_from_the_middle_it_ends_in_the_distribution_of_the_data(name: str) -> None:
    oracle, rows = GaussianOracle(), torch.eye(2).repeat_interleave(8, dim=0)
    random = torch.Generator().manual_seed(0)
    clean = rows @ torch.tensor(MEANS)
    clean = clean.reshape(-1, 1, 1, 1) + STD * torch.randn(16, 3, 16, 16, generator=random)
    start = int(sampling_timesteps(Sampling(name, 100), oracle)[-50])
    noisy = oracle.noise_scheduler.add_noise(clean, torch.randn(clean.shape, generator=random), torch.tensor(start))
    images = sample(oracle, rows, image_seeds(0, 16), Sampling(name, 100), start=Start(noisy, start))
    check_distribution(list(images.chunk(2)))


def test_what_is_known_is_drawn_and_the_rest_goes_with_it(denoiser: Denoiser) -> None:
    values, is_known = torch.full((3, 3, 16, 16), 0.25), torch.arange(16).expand(3, 3, 16, 16) < 8
    images = sample(denoiser, CLASS_LABELS, SEEDS, Sampling("ddim", 4), Known(values, is_known))
    assert (images[..., :8] == 0.25).all()
    assert not torch.equal(images[..., 8:], sample(denoiser, CLASS_LABELS, SEEDS, Sampling("ddim", 4))[..., 8:])


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"class_labels": torch.zeros(3, 23)}, r"\(B, 24\)"),
        ({"seeds": [0, 1]}, "2 for 3"),
        ({"class_labels": CLASS_LABELS[:0], "seeds": []}, "0 for 0"),
    ],
)
def test_what_does_not_fit_is_refused(denoiser: Denoiser, arguments: dict[str, Any], named: str) -> None:
    fitting: dict[str, Any] = {"class_labels": CLASS_LABELS, "seeds": SEEDS, "sampling": Sampling("ddim", 4)}
    with pytest.raises(UserError, match=named):
        sample(denoiser, **(fitting | arguments))


@pytest.mark.parametrize(
    ("settings", "key"),
    [
        ({"steps": 0}, "steps"),
        ({"guidance_scale": -1.0}, "guidance_scale"),
        ({"guidance_scale": float("nan")}, "guidance_scale"),
    ],
)
def test_a_sampling_out_of_range_is_refused_by_name(settings: dict[str, Any], key: str) -> None:
    with pytest.raises(UserError, match=f"`{key}`"):
        Sampling(**settings)


def test_a_model_that_never_saw_the_null_label_is_neither_guided_nor_sampled_under_it() -> None:
    model = tiny_denoiser(labels=OBJECTS, condition_dropout=0.0)
    sample(model, CLASS_LABELS, SEEDS, Sampling("ddim", 1))
    for rows, sampling in (
        (CLASS_LABELS, Sampling("ddim", 1, 2.0)),
        (CLASS_LABELS * torch.tensor([[1], [0], [1]]), Sampling("ddim", 1)),
        (CLASS_LABELS[:, None], Sampling("ddim", 1)),
    ):
        with pytest.raises(UserError, match="condition_dropout"):
            sample(model, rows, SEEDS, sampling)


def test_an_unconditional_model_samples_with_any_scheduler() -> None:
    images = sample(tiny_denoiser(in_channels=1), torch.zeros(2, 0), [0, 1], Sampling(EulerDiscreteScheduler(), 2))
    assert images.shape == (2, 1, 16, 16)
    with pytest.raises(UserError, match="guidance_scale"):
        sample(tiny_denoiser(in_channels=1), torch.zeros(2, 0), [0, 1], Sampling("ddim", 2, 3.0))


def test_no_two_runs_share_a_seed() -> None:
    seeds = [value for run in range(32) for value in image_seeds(run, 64)]
    assert len(set(seeds)) == len(seeds)
    assert all(0 <= value < 2**32 for value in seeds)
    assert image_seeds(3, 64)[:10] == image_seeds(3, 10)
