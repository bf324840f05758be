"""Walks begin and end at their sources; inversion is the sampler run backwards; what is shared is shared."""

from typing import Any

import pytest
import torch

from gaussian_oracle import GaussianOracle
from lab_ddpm.data.images import to_uint8
from lab_ddpm.diffusion.pipeline import LabelConditionalPipeline
from lab_ddpm.diffusion.reverse_process import image_seeds
from lab_ddpm.generation.interpolation import Noise, interpolate_conditions, interpolate_images, invert, mix
from lab_ddpm.generation.sampler import Sampler
from lab_ddpm.tools.errors import UserError
from painting_oracle import PaintingOracle, paint


@pytest.fixture
def oracle() -> LabelConditionalPipeline:
    """The best network for pixels N(-0.3, 0.15^2) and N(0.4, 0.15^2)."""
    return LabelConditionalPipeline(GaussianOracle("sample"), "ddim")


@pytest.fixture
def ends() -> torch.Tensor:
    """An image of each of the oracle's two labels."""
    means = torch.tensor([-0.3, 0.4]).reshape(2, 1, 1, 1)
    return means + 0.15 * torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))


def walk(pipeline: LabelConditionalPipeline, ends: torch.Tensor, scheduler: str = "ddim", **settings: Any) -> Any:
    return interpolate_images(Sampler(pipeline, scheduler, 50), ends, **({"count": 5} | settings))


def test_inverted_images_decode_to_themselves(oracle: LabelConditionalPipeline, ends: torch.Tensor) -> None:
    class_labels = torch.eye(2)
    noisy_samples = invert(Sampler(oracle, "ddim", 50), ends, class_labels, 999)
    assert noisy_samples.std().item() == pytest.approx(1, abs=0.05)
    generators = [torch.Generator() for _ in range(2)]
    decoded = oracle.sample(class_labels, generators, 50, noisy_samples=noisy_samples, start_timestep=999)
    assert (decoded - ends).abs().mean() < 0.016  # 0.0208 without the step from the clean image to the first timestep


@pytest.mark.parametrize("noise", ["shared", "own", "fresh", "inverted"])
@pytest.mark.parametrize("mixing", ["linear", "spherical"])
def test_a_walk_from_little_noise_begins_and_ends_at_its_sources(
    oracle: LabelConditionalPipeline, ends: torch.Tensor, noise: str, mixing: str
) -> None:
    path = walk(oracle, ends, timestep=19, noise=noise, mixing=mixing)
    assert path.timestep == 19
    assert path.lambdas.tolist() == [0, 0.25, 0.5, 0.75, 1]
    assert (path.images[[0, -1]] - ends).abs().mean() < 0.05
    assert path.distances().shape == (4,)


def test_in_one_step_a_mixture_becomes_the_mean_of_its_posterior(
    oracle: LabelConditionalPipeline, ends: torch.Tensor
) -> None:
    """The oracle's mean is a smooth function of the mixture: an even walk, and a short one where noise hides a lot."""
    even = walk(oracle, ends, timestep=499, one_step=True)
    assert even.distances().max() < 1.05 * even.distances().min()
    sampled = walk(oracle, ends, timestep=499)
    assert even.distances().sum() < sampled.distances().sum()


def test_the_nearest_timestep_of_the_sampler_is_taken(oracle: LabelConditionalPipeline, ends: torch.Tensor) -> None:
    assert walk(oracle, ends, timestep=500).timestep == 499


def test_the_way_back_is_the_way_there(oracle: LabelConditionalPipeline, ends: torch.Tensor) -> None:
    there, back = (walk(oracle, images, timestep=499).images for images in (ends, ends.flip(0)))
    torch.testing.assert_close(there, back.flip(0), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(("noise", "still"), [("shared", True), ("own", False), ("fresh", False)])
def test_between_two_equal_images_only_fresh_noise_changes_anything(
    oracle: LabelConditionalPipeline, ends: torch.Tensor, noise: str, still: bool
) -> None:
    distances = walk(oracle, ends[[0, 0]], "ddpm", timestep=499, noise=noise).distances()
    assert (distances < 1e-6).all() == still


def test_walks_of_neighbouring_seeds_share_no_noise(oracle: LabelConditionalPipeline, ends: torch.Tensor) -> None:
    walks = [walk(oracle, ends[[0, 0]], "ddpm", timestep=499, noise="fresh", seed=seed).images for seed in range(3)]
    assert torch.pdist(torch.cat(walks).flatten(1)).min() > 1


def test_linear_mixing_of_fresh_noise_loses_variance_and_spherical_mixing_keeps_it() -> None:
    first, second = torch.randn(2, 10_000, generator=torch.Generator().manual_seed(0))
    assert mix(first, second, 0.5, "linear").std().item() == pytest.approx(0.5**0.5, abs=0.02)
    assert mix(first, second, 0.5, "spherical").std().item() == pytest.approx(1, abs=0.02)
    for mixing in ("linear", "spherical"):
        torch.testing.assert_close(mix(first, second, 0.0, mixing), first)
        torch.testing.assert_close(mix(first, second, 1.0, mixing), second)


def test_a_walk_between_conditions_begins_and_ends_at_their_images(tiny_pipeline: LabelConditionalPipeline) -> None:
    sampler, conditions = Sampler(tiny_pipeline, "ddim", 2), [("red cube",), ("cyan sphere", "gray cylinder")]
    path = interpolate_conditions(sampler, conditions, count=4, seed=5)
    ends = sampler.sample(conditions, image_seeds(5, 1) * 2).images
    assert abs(to_uint8(path.images[[0, -1]]).astype(int) - ends).max() <= 3


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"mixing": "cubic"}, r"`mixing` must be one of \['linear', 'spherical'\], got 'cubic'"),
        ({"noise": "none"}, r"`noise` must be one of \['shared', 'own', 'fresh', 'inverted'\], got 'none'"),
        ({"count": 1}, "`count` must be at least 2, got 1"),
        ({"noise": "inverted", "scheduler": "ddpm"}, "`scheduler` must be 'ddim' for `noise` 'inverted'"),
        ({"noise": "inverted", "scheduler": "dpmpp"}, "`scheduler` must be 'ddim' for `noise` 'inverted'"),
        ({"timestep": 1000}, r"`timestep` must be in \[19, 999\], got 1000"),
    ],
)
def test_bad_settings_are_refused(
    oracle: LabelConditionalPipeline, ends: torch.Tensor, settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        walk(oracle, ends, **settings)


def test_a_sampler_that_scales_its_images_is_refused(oracle: LabelConditionalPipeline, ends: torch.Tensor) -> None:
    with pytest.raises(UserError, match="must be one that does not scale its samples"):
        walk(oracle, ends, "euler")


@pytest.mark.parametrize("noise", ["shared", "own", "inverted"])
def test_a_model_with_a_layout_reads_both_ends_and_comes_back_to_them(noise: Noise) -> None:
    masks = torch.zeros(2, 1, 8, 8, dtype=torch.long)
    masks[0, 0, 2:4, 2:4], masks[1, 0, 4:6, 5:7] = 1, 2
    ends = paint(masks)
    sampler = Sampler(LabelConditionalPipeline(PaintingOracle(), "ddim"), "ddim", 10)
    walk = interpolate_images(sampler, ends, torch.eye(2), timestep=200, count=3, noise=noise)
    torch.testing.assert_close(walk.images[[0, -1]], ends, atol=1e-4, rtol=0)
    blind = Sampler(LabelConditionalPipeline(PaintingOracle(layout_dropout=0.0), "ddim"), "ddim", 10)
    with pytest.raises(UserError, match="only a model that was trained with"):
        interpolate_images(blind, ends, timestep=500)
