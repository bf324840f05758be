"""Every sampler shares the training schedule, starts at pure noise and ends in the distribution of the data."""

import json
from typing import Any

import pytest
import torch
from diffusers import (
    CogVideoXDDIMScheduler,
    DDIMInverseScheduler,
    DDIMParallelScheduler,
    DDIMScheduler,
    DDPMParallelScheduler,
    DDPMScheduler,
    DEISMultistepScheduler,
    DPMSolverMultistepInverseScheduler,
    DPMSolverMultistepScheduler,
    DPMSolverSinglestepScheduler,
    EulerAncestralDiscreteScheduler,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    HeunDiscreteScheduler,
    KDPM2AncestralDiscreteScheduler,
    KDPM2DiscreteScheduler,
    LMSDiscreteScheduler,
    PNDMScheduler,
    RePaintScheduler,
    SASolverScheduler,
    UnCLIPScheduler,
    UniPCMultistepScheduler,
)

from gaussian_oracle import MEANS, STD, GaussianOracle, check_distribution, sample_oracle
from lab_ddpm.diffusion.noise import PREDICTION_TYPES, alphas_cumprod
from lab_ddpm.diffusion.pipeline import LabelConditionalPipeline
from lab_ddpm.diffusion.schedulers import SCHEDULERS, make_scheduler, sampling_timesteps, scheduler_name
from lab_ddpm.tools.errors import UserError

FOREIGN: list[Any] = [
    DDIMParallelScheduler,
    DDIMScheduler,
    DDPMParallelScheduler,
    DDPMScheduler,
    DEISMultistepScheduler,
    DPMSolverMultistepScheduler,
    DPMSolverSinglestepScheduler,
    EulerAncestralDiscreteScheduler,
    EulerDiscreteScheduler,
    HeunDiscreteScheduler,
    KDPM2AncestralDiscreteScheduler,
    KDPM2DiscreteScheduler,
    LMSDiscreteScheduler,
    PNDMScheduler,
    SASolverScheduler,
    UniPCMultistepScheduler,
]


@pytest.mark.parametrize("name", SCHEDULERS)
@pytest.mark.parametrize("beta_schedule", ["squaredcos_cap_v2", "linear"])
def test_every_sampler_has_the_noise_levels_of_the_training(name: str, beta_schedule: str) -> None:
    scheduler = make_scheduler(name, GaussianOracle(beta_schedule=beta_schedule))
    assert torch.equal(scheduler.alphas_cumprod, alphas_cumprod(1000, beta_schedule))


@pytest.mark.parametrize("name", SCHEDULERS)
@pytest.mark.parametrize("steps", [1, 2, 5, 7, 50, 900])
def test_every_sampler_starts_at_pure_noise_and_goes_down_in_as_many_steps_as_asked(name: str, steps: int) -> None:
    scheduler = make_scheduler(name, GaussianOracle())
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
    check_distribution(sample_oracle(name, steps, prediction_type=prediction_type))


@pytest.mark.parametrize("prediction_type", PREDICTION_TYPES)
@pytest.mark.parametrize("scheduler_class", FOREIGN, ids=lambda each: each.__name__)
def test_any_fresh_scheduler_of_diffusers_ends_in_the_distribution_too(
    scheduler_class: Any, prediction_type: str
) -> None:
    """Made without a word about the model: with a linear schedule for the prediction of noise, that is."""
    check_distribution(sample_oracle(scheduler_class(), 100, prediction_type=prediction_type))


@pytest.mark.parametrize("scheduler_class", FOREIGN, ids=lambda each: each.__name__)
def test_any_scheduler_made_from_the_config_of_the_pipelines_own_does(scheduler_class: Any) -> None:
    own = LabelConditionalPipeline(GaussianOracle(), "ddpm").scheduler
    check_distribution(sample_oracle(scheduler_class.from_config(own.config), 100))


@pytest.mark.parametrize(
    "scheduler_class", [EulerDiscreteScheduler, DPMSolverMultistepScheduler, DEISMultistepScheduler]
)
def test_what_a_foreign_scheduler_was_told_about_itself_is_kept(scheduler_class: Any) -> None:
    foreign = scheduler_class(use_karras_sigmas=True, beta_schedule="linear", timestep_spacing="linspace")
    made = make_scheduler(foreign, GaussianOracle())
    assert made.config["use_karras_sigmas"]
    assert made.config["timestep_spacing"] == "linspace"
    assert torch.equal(made.alphas_cumprod, alphas_cumprod(1000, "squaredcos_cap_v2"))
    check_distribution(sample_oracle(foreign, 100, prediction_type="epsilon"), tolerance=0.15)


@pytest.mark.parametrize(
    "scheduler_class",
    [
        CogVideoXDDIMScheduler,
        DDIMInverseScheduler,
        DPMSolverMultistepInverseScheduler,
        FlowMatchEulerDiscreteScheduler,
        RePaintScheduler,
        UnCLIPScheduler,
    ],
)
def test_a_scheduler_of_another_kind_of_process_is_refused(scheduler_class: Any) -> None:
    with pytest.raises(UserError, match=scheduler_class.__name__):
        make_scheduler(scheduler_class(), GaussianOracle())


@pytest.mark.parametrize(
    "foreign",
    [
        DPMSolverMultistepScheduler(use_flow_sigmas=True, prediction_type="flow_prediction"),
        EulerDiscreteScheduler(interpolation_type="log_linear"),
        EulerDiscreteScheduler(use_beta_sigmas=True),
        PNDMScheduler(skip_prk_steps=False),
        DDIMScheduler(rescale_betas_zero_snr=True, thresholding=True),
    ],
    ids=lambda each: type(each).__name__,
)
def test_settings_that_would_change_the_noise_levels_are_not_kept(foreign: Any) -> None:
    check_distribution(sample_oracle(foreign, 100))


@pytest.mark.parametrize("name", SCHEDULERS)
def test_a_number_of_steps_that_is_rounded_to_one_too_many_does_no_harm(name: str) -> None:
    check_distribution(sample_oracle(name, 61), tolerance=0.05 if name.startswith("dpmpp") else 0.15)


@pytest.mark.parametrize("name", SCHEDULERS)
def test_a_number_of_steps_that_does_not_divide_a_thousand_does_no_harm(name: str) -> None:
    check_distribution(sample_oracle(name, 300))


def test_ddim_is_the_sampler_of_the_paper() -> None:
    steps = 50  # which divides 1000: there diffusers' DDIMScheduler steps to the next timestep too
    ours, theirs = (torch.cat(sample_oracle(scheduler, steps)) for scheduler in ("ddim", DDIMScheduler()))
    torch.testing.assert_close(ours, theirs, atol=1e-3, rtol=0)


@pytest.mark.parametrize("prediction_type", PREDICTION_TYPES)
@pytest.mark.parametrize("steps", [5, 20])
@pytest.mark.parametrize("name", SCHEDULERS)
def test_an_error_of_one_percent_in_the_network_stays_small_in_the_images(
    name: str, steps: int, prediction_type: str
) -> None:
    # At t = 999 the signal is 5e-5 of the image: whoever divides by it unclipped blows every error up.
    images = sample_oracle(name, steps, prediction_type=prediction_type, error=0.01)
    for images_of_label, mean in zip(images, MEANS, strict=True):
        assert images_of_label.mean().item() == pytest.approx(mean, abs=0.1)
        assert images_of_label.std().item() < 2 * STD


@pytest.mark.parametrize("name", SCHEDULERS)
def test_a_scheduler_that_is_made_again_is_the_same(name: str) -> None:
    once = make_scheduler(name, GaussianOracle())
    again = make_scheduler(once, GaussianOracle())
    assert type(again) is type(once)
    assert json.loads(again.to_json_string()) == json.loads(once.to_json_string())
    assert scheduler_name(again, GaussianOracle()) == name


def test_a_scheduler_without_a_name_is_called_by_its_class() -> None:
    stochastic = DPMSolverMultistepScheduler(solver_order=1, algorithm_type="sde-dpmsolver++")
    made = make_scheduler(stochastic, GaussianOracle())
    assert scheduler_name(made, GaussianOracle()) == "DPMSolverMultistepScheduler"


def test_early_steps_are_dense_where_there_is_most_noise() -> None:
    timesteps = sampling_timesteps(make_scheduler("dpmpp_sde_early", GaussianOracle()), 8)
    assert timesteps.tolist() == [999, 955, 874, 769, 645, 505, 349, 181]  # 1000 (1 - (i / 8)^1.5) - 1


@pytest.mark.parametrize("scheduler_class", FOREIGN, ids=lambda each: each.__name__)
def test_a_scheduler_made_from_the_config_of_an_early_one_has_a_spacing_that_it_knows(scheduler_class: Any) -> None:
    own = LabelConditionalPipeline(GaussianOracle(), "dpmpp_sde_early").scheduler
    config = {key: value for key, value in own.config.items() if key != "algorithm_type"}  # which not all know
    check_distribution(sample_oracle(scheduler_class.from_config(config), 100))


@pytest.mark.parametrize("spacing", ["use_karras_sigmas", "use_exponential_sigmas", "use_lu_lambdas"])
def test_an_early_one_that_is_told_of_another_spacing_takes_that(spacing: str) -> None:
    own = LabelConditionalPipeline(GaussianOracle(), "dpmpp_sde_early").scheduler
    told = DPMSolverMultistepScheduler.from_config(own.config, **{spacing: True})
    check_distribution(sample_oracle(told, 100), tolerance=0.15)


def test_an_early_one_that_is_told_of_evenly_spaced_steps_takes_those() -> None:
    own = LabelConditionalPipeline(GaussianOracle(), "dpmpp_sde_early").scheduler
    told = DPMSolverMultistepScheduler.from_config(own.config, timestep_spacing="linspace")
    timesteps = sampling_timesteps(make_scheduler(told, GaussianOracle()), 4)
    assert timesteps.tolist() == [999, 749, 500, 250]


def test_an_unknown_sampler_is_refused_with_the_choices() -> None:
    with pytest.raises(UserError, match=r"`scheduler` must be one of \['ddpm', 'ddim', .*\], got 'ddimm'"):
        make_scheduler("ddimm", GaussianOracle())


@pytest.mark.parametrize("steps", [-1, 0, 1001])
def test_a_number_of_steps_out_of_range_is_refused(steps: int) -> None:
    with pytest.raises(UserError, match=f"`steps` must be between 1 and 1000, got {steps}"):
        sampling_timesteps(make_scheduler("ddim", GaussianOracle()), steps)
