"""Every sampler shares the training schedule, starts at pure noise and ends in the distribution of the data.

The oracle is a data set whose best network is known in closed form: pixels x_0 ~ N(m_c, s^2), for which

    E[x_0 | x_t] = m_c + s^2 sqrt(abar) / (s^2 abar + 1 - abar) (x_t - sqrt(abar) m_c).
"""

from typing import Any, cast

import pytest
import torch
from diffusers import ConfigMixin, DDIMScheduler, DDPMScheduler, ModelMixin
from diffusers.configuration_utils import register_to_config

from lab_ddpm.diffusion.noise import PREDICTION_TYPES
from lab_ddpm.diffusion.pipeline import LabelConditionalPipeline
from lab_ddpm.diffusion.schedulers import SCHEDULERS, is_ddim, make_scheduler, sampling_timesteps
from lab_ddpm.tools.errors import UserError

MEANS, STD = (-0.3, 0.4), 0.15


def noise_scheduler(prediction_type: Any = "epsilon", beta_schedule: Any = "squaredcos_cap_v2") -> DDPMScheduler:
    return DDPMScheduler(num_train_timesteps=1000, beta_schedule=beta_schedule, prediction_type=prediction_type)


class GaussianOracle(ModelMixin, ConfigMixin):
    """The best network for Gaussian pixels of two labels, but for a relative `error` of its prediction."""

    @register_to_config
    def __init__(self, prediction_type: str, error: float = 0.0, sample_size: int = 16) -> None:
        super().__init__()
        self.register_to_config(labels=("dark", "bright"), in_channels=3)
        self.register_buffer("abar", noise_scheduler().alphas_cumprod.double())

    def forward(self, noisy_images: torch.Tensor, timesteps: torch.Tensor, class_labels: torch.Tensor) -> torch.Tensor:
        abar = self.abar[timesteps.long()]
        mean = (class_labels.double() @ torch.tensor(MEANS).double()).reshape(-1, 1, 1, 1)
        noisy = noisy_images.double()
        clean = mean + STD**2 * abar.sqrt() / (STD**2 * abar + 1 - abar) * (noisy - abar.sqrt() * mean)
        noise = (noisy - abar.sqrt() * clean) / (1 - abar).sqrt()
        v = abar.sqrt() * noise - (1 - abar).sqrt() * clean
        prediction = {"epsilon": noise, "sample": clean, "v_prediction": v}[self.config["prediction_type"]]
        return (prediction * (1 + self.config["error"])).float()


def sample_oracle(name: str, steps: int, prediction_type: str, error: float = 0.0) -> list[torch.Tensor]:
    """8 pictures of each of the two labels."""
    scheduler = make_scheduler(name, noise_scheduler(prediction_type), steps)
    pipeline = LabelConditionalPipeline(cast(Any, GaussianOracle(prediction_type, error)), scheduler)
    pipeline.set_progress_bar_config(disable=True)
    class_labels = torch.eye(2).repeat_interleave(8, dim=0)
    generators = [torch.Generator().manual_seed(seed) for seed in range(16)]
    return list(pipeline(class_labels, steps, generator=generators).chunk(2))


def check_distribution(pictures: list[torch.Tensor], tolerance: float = 0.1) -> None:
    for pictures_of_label, mean in zip(pictures, MEANS, strict=True):
        assert pictures_of_label.mean().item() == pytest.approx(mean, abs=0.01)
        assert pictures_of_label.std().item() == pytest.approx(STD, rel=tolerance)


@pytest.mark.parametrize("name", SCHEDULERS)
@pytest.mark.parametrize("beta_schedule", ["squaredcos_cap_v2", "linear"])
def test_every_sampler_has_the_noise_levels_of_the_training(name: str, beta_schedule: str) -> None:
    training = noise_scheduler(beta_schedule=beta_schedule)
    assert torch.equal(make_scheduler(name, training, 50).alphas_cumprod, training.alphas_cumprod)


@pytest.mark.parametrize("prediction_type", PREDICTION_TYPES)
@pytest.mark.parametrize("name", SCHEDULERS)
def test_a_sampler_made_from_another_takes_what_the_network_predicts(name: str, prediction_type: str) -> None:
    training = noise_scheduler(prediction_type)
    again = make_scheduler("ddim", make_scheduler(name, training, 50), 50)
    assert again.config["prediction_type"] == prediction_type
    assert torch.equal(again.alphas_cumprod, training.alphas_cumprod)


@pytest.mark.parametrize("name", SCHEDULERS)
@pytest.mark.parametrize("steps", [1, 2, 5, 7, 50, 900])
def test_every_sampler_starts_at_pure_noise_and_goes_down_in_as_many_steps_as_asked(name: str, steps: int) -> None:
    scheduler = make_scheduler(name, noise_scheduler(), steps)
    timesteps = list(dict.fromkeys(sampling_timesteps(scheduler, steps).tolist()))  # Heun's has most of them twice
    assert scheduler.alphas_cumprod[int(timesteps[0])] < 2e-4
    assert timesteps[0] == 999 or name == "heun"
    assert timesteps == sorted(timesteps, reverse=True)
    assert timesteps[-1] >= 0
    assert len(timesteps) == steps


@pytest.mark.parametrize("prediction_type", PREDICTION_TYPES)
@pytest.mark.parametrize("name", SCHEDULERS)
def test_every_sampler_ends_in_the_distribution_of_the_data(name: str, prediction_type: str) -> None:
    steps = 100 if name in ("ddpm", "ddim", "euler") else 40  # solvers of the first order, and of the second
    check_distribution(sample_oracle(name, steps, prediction_type))


@pytest.mark.parametrize("name", SCHEDULERS)
def test_a_number_of_steps_that_is_rounded_to_one_too_many_does_no_harm(name: str) -> None:
    check_distribution(sample_oracle(name, 61, "sample"), tolerance=0.15)


@pytest.mark.parametrize("name", SCHEDULERS)
def test_a_number_of_steps_that_does_not_divide_a_thousand_does_no_harm(name: str) -> None:
    check_distribution(sample_oracle(name, 300, "sample"))


def test_ddim_is_the_sampler_of_the_paper() -> None:
    steps = 50  # which divides 1000: there diffusers' DDIMScheduler steps to the next timestep too
    scheduler = DDIMScheduler.from_config(dict(noise_scheduler("epsilon").config), timestep_spacing="trailing")
    expected = LabelConditionalPipeline(cast(Any, GaussianOracle("epsilon")), scheduler)
    expected.set_progress_bar_config(disable=True)
    pictures = expected(torch.eye(2), steps, generator=[torch.Generator().manual_seed(seed) for seed in (0, 8)])
    ours = torch.stack([pictures_of_label[0] for pictures_of_label in sample_oracle("ddim", steps, "epsilon")])
    assert torch.allclose(pictures, ours, atol=1e-3)


@pytest.mark.parametrize("prediction_type", PREDICTION_TYPES)
@pytest.mark.parametrize("steps", [5, 20])
@pytest.mark.parametrize("name", SCHEDULERS)
def test_an_error_of_one_percent_in_the_network_stays_small_in_the_pictures(
    name: str, steps: int, prediction_type: str
) -> None:
    # At t = 999 the signal is 5e-5 of the picture: whoever divides by it unclipped blows every error up.
    for pictures, mean in zip(sample_oracle(name, steps, prediction_type, error=0.01), MEANS, strict=True):
        assert pictures.mean().item() == pytest.approx(mean, abs=0.1)
        assert pictures.std().item() < 2 * STD


@pytest.mark.parametrize("name", SCHEDULERS)
@pytest.mark.parametrize("other", SCHEDULERS)
def test_a_sampler_that_is_made_of_another_one_is_the_same(name: str, other: str) -> None:
    direct = make_scheduler(name, noise_scheduler("sample"), 20)
    indirect = make_scheduler(name, make_scheduler(other, noise_scheduler("sample"), 20), 20)
    for scheduler in (direct, indirect):
        scheduler.set_timesteps(20)
    torch.testing.assert_close(direct.timesteps, indirect.timesteps)
    torch.testing.assert_close(direct.alphas_cumprod, indirect.alphas_cumprod)
    assert is_ddim(indirect) == (name == "ddim")
    if "solver_order" in direct.config:
        assert indirect.config["solver_order"] == direct.config["solver_order"]


def test_an_unknown_sampler_is_refused_with_the_choices() -> None:
    with pytest.raises(UserError, match=r"`scheduler` must be one of \['ddpm', 'ddim', .*\], got 'ddimm'"):
        make_scheduler("ddimm", noise_scheduler(), 50)


@pytest.mark.parametrize("steps", [-1, 0, 1001])
def test_a_number_of_steps_out_of_range_is_refused(steps: int) -> None:
    with pytest.raises(UserError, match=f"`steps` must be between 1 and 1000, got {steps}"):
        make_scheduler("ddim", noise_scheduler(), steps)
