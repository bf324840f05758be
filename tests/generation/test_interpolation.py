"""Interpolations begin and end at their sources; inversion is the sampler run backwards."""

from typing import Any

import pytest
import torch

from gaussian_oracle import GaussianOracle
from lab_ddpm.data.images import to_uint8
from lab_ddpm.diffusion.pipeline import LabelConditionalPipeline
from lab_ddpm.diffusion.sampling import Start, image_seeds, sample
from lab_ddpm.diffusion.scheduler_names import SCHEDULERS
from lab_ddpm.generation.generate import generate
from lab_ddpm.generation.interpolation import (
    Interpolation,
    Noise,
    interpolate_conditions,
    interpolate_images,
    invert,
    mix,
)
from lab_ddpm.tools.errors import UserError
from painting_oracle import PaintingOracle, paint


@pytest.fixture
def oracle() -> LabelConditionalPipeline:
    """The best network for pixels N(-0.3, 0.15^2) and N(0.4, 0.15^2)."""
    return LabelConditionalPipeline(GaussianOracle("sample"), "ddim", 50)


@pytest.fixture
def ends() -> torch.Tensor:
    """An image of each of the oracle's two labels."""
    means = torch.tensor([-0.3, 0.4]).reshape(2, 1, 1, 1)
    return means + 0.15 * torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))


def interpolate(
    pipeline: LabelConditionalPipeline, ends: torch.Tensor, scheduler: str = "ddim", **settings: Any
) -> Interpolation:
    return interpolate_images(pipeline.with_sampling(scheduler), ends, **{"count": 5, **settings})


def test_inverted_images_decode_to_themselves(oracle: LabelConditionalPipeline) -> None:
    images = 0.15 * torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    noisy = invert(oracle, images, 999)
    assert noisy.std().item() == pytest.approx(1, abs=0.05)
    decoded = sample(oracle.denoiser, torch.zeros(2, 2), [0, 0], oracle.sampling, start=Start(noisy, 999))
    assert (decoded - images).abs().mean() < 0.016  # 0.0208 without the step from the clean image to the first timestep


@pytest.mark.parametrize(
    ("noise", "mixing"), [("shared", "linear"), ("own", "spherical"), ("fresh", "linear"), ("inverted", "spherical")]
)
def test_a_walk_from_little_noise_begins_and_ends_at_its_sources(
    oracle: LabelConditionalPipeline, ends: torch.Tensor, noise: str, mixing: str
) -> None:
    path = interpolate(oracle, ends, timestep=25, noise=noise, mixing=mixing)
    assert path.timestep == 19  # the nearest one of the sampler
    assert path.lambdas.tolist() == [0, 0.25, 0.5, 0.75, 1]
    assert (path.images[[0, -1]] - ends).abs().mean() < 0.05
    assert path.distances().shape == (4,)


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_every_sampler_leads_back_to_the_sources(
    oracle: LabelConditionalPipeline, ends: torch.Tensor, scheduler: str
) -> None:
    path = interpolate(oracle, ends, scheduler, timestep=30)
    assert (path.images[[0, -1]] - ends).abs().mean() < 0.06


@pytest.mark.parametrize(("noise", "still"), [("shared", True), ("own", False), ("fresh", False)])
def test_between_two_equal_images_shared_noise_changes_nothing(
    oracle: LabelConditionalPipeline, ends: torch.Tensor, noise: str, still: bool
) -> None:
    distances = interpolate(oracle, ends[[0, 0]], "ddpm", timestep=499, noise=noise).distances()
    assert (distances < 1e-6).all() == still


def test_spherical_mixing_keeps_the_variance_of_noise() -> None:
    first, second = torch.randn(2, 10_000, generator=torch.Generator().manual_seed(0))
    assert mix(first, second, 0.5, "linear").std().item() == pytest.approx(0.5**0.5, abs=0.02)
    assert mix(first, second, 0.5, "spherical").std().item() == pytest.approx(1, abs=0.02)
    for mixing in ("linear", "spherical"):
        torch.testing.assert_close(mix(first, second, 0.0, mixing), first)
        torch.testing.assert_close(mix(first, second, 1.0, mixing), second)


def test_a_walk_between_conditions_begins_and_ends_at_their_images(tiny_pipeline: LabelConditionalPipeline) -> None:
    pipeline, conditions = tiny_pipeline.with_sampling(steps=2), [("red cube",), ("cyan sphere", "gray cylinder")]
    path = interpolate_conditions(pipeline, conditions, count=4, seed=5)
    ends = generate(pipeline, conditions, image_seeds(5, 1) * 2).images
    assert abs(to_uint8(path.images[[0, -1]]).astype(int) - ends).max() <= 3


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"mixing": "cubic"}, "spherical"),
        ({"noise": "inverted", "scheduler": "ddpm"}, "ddim"),
        ({"timestep": 1000}, "999"),
    ],
)
def test_bad_settings_are_refused(
    oracle: LabelConditionalPipeline, ends: torch.Tensor, settings: dict[str, Any], named: str
) -> None:
    with pytest.raises(UserError, match=named):
        interpolate(oracle, ends, **settings)


def test_there_are_two_ends(oracle: LabelConditionalPipeline, ends: torch.Tensor) -> None:
    with pytest.raises(UserError, match="3"):
        interpolate(oracle, torch.cat([ends, ends[:1]]))
    with pytest.raises(UserError, match="1"):
        interpolate_conditions(oracle, [("red cube",)])


@pytest.mark.parametrize("noise", ["shared", "own", "inverted"])
def test_a_model_with_a_layout_reads_both_ends_and_comes_back_to_them(noise: Noise) -> None:
    masks = torch.zeros(2, 1, 8, 8, dtype=torch.long)
    masks[0, 0, 2:4, 2:4], masks[1, 0, 4:6, 5:7] = 1, 2
    pipeline = LabelConditionalPipeline(PaintingOracle(), "ddim", 10)
    path = interpolate_images(pipeline, paint(masks), timestep=200, count=3, noise=noise)
    torch.testing.assert_close(path.images[[0, -1]], paint(masks), atol=1e-4, rtol=0)
