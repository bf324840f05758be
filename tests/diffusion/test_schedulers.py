"""Every sampler has the training's noise levels, starts at pure noise and ends in the distribution of the data."""

import itertools
import json
import re
from typing import Any

import pytest
import torch
from diffusers import (
    DDIMInverseScheduler,
    DDIMScheduler,
    DPMSolverMultistepScheduler,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    PNDMScheduler,
)

from gaussian_oracle import MEANS, STD, GaussianOracle, check_distribution, sample_oracle
from lab_ddpm.diffusion.sampling import Sampling, sampling_timesteps
from lab_ddpm.diffusion.scheduler_names import SCHEDULERS
from lab_ddpm.diffusion.schedulers import PROVEN, make_scheduler, scheduler_name
from lab_ddpm.tools.errors import UserError

USUAL_STEPS = (10, 15, 20, 24, 25, 30, 50, 100)
each_class = pytest.mark.parametrize("scheduler_class", PROVEN.values(), ids=PROVEN)


@pytest.mark.parametrize("name", SCHEDULERS)
def test_every_sampler_starts_at_pure_noise_and_takes_as_many_steps_as_asked(name: str) -> None:
    oracle = GaussianOracle(beta_schedule="linear")
    assert torch.equal(make_scheduler(name, oracle).alphas_cumprod, oracle.noise_scheduler.alphas_cumprod)
    for steps in (1, 2, 7, 50):
        timesteps = sampling_timesteps(Sampling(name, steps), GaussianOracle()).tolist()
        assert timesteps[0] == 999
        assert timesteps == sorted(timesteps, reverse=True)
        assert len(timesteps) == steps


@pytest.mark.parametrize("name", SCHEDULERS)
def test_every_sampler_comes_closer_to_the_data_with_more_steps(name: str) -> None:
    """For each number of steps that people use: the right mean, a deviation that is never too large, and grows."""
    deviations = []
    for steps in USUAL_STEPS:
        images = sample_oracle(name, steps)
        for images_of_label, mean in zip(images, MEANS, strict=True):
            assert images_of_label.mean().item() == pytest.approx(mean, abs=0.012)
        deviations.append(torch.stack([each.std() for each in images]).mean().item())
    assert all(0.07 < deviation < 1.05 * STD for deviation in deviations)
    assert all(more > fewer - 0.01 for fewer, more in itertools.pairwise(deviations))
    assert deviations[-1] > 0.9 * STD


@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction"])
@pytest.mark.parametrize("name", SCHEDULERS)
def test_what_the_network_predicts_does_not_matter(name: str, prediction_type: str) -> None:
    check_distribution(sample_oracle(name, 100, prediction_type=prediction_type))


@each_class
def test_a_scheduler_that_was_made_for_another_model_ends_in_the_distribution_too(scheduler_class: Any) -> None:
    """Fresh ones are on a linear schedule, for the prediction of noise."""
    check_distribution(sample_oracle(scheduler_class(), 100))
    own = make_scheduler("dpmpp_sde", GaussianOracle())
    config = {key: value for key, value in own.config.items() if key != "algorithm_type"}  # which not all know
    check_distribution(sample_oracle(scheduler_class.from_config(config), 100))


@each_class
def test_what_a_scheduler_was_told_about_itself_is_kept(scheduler_class: Any) -> None:
    if "use_karras_sigmas" not in scheduler_class().config:
        pytest.skip("it knows no other spacing")
    told = scheduler_class(use_karras_sigmas=True, beta_schedule="linear")
    assert make_scheduler(told, GaussianOracle()).config["use_karras_sigmas"]
    check_distribution(sample_oracle(told, 100, prediction_type="epsilon"), tolerance=0.15)


@pytest.mark.parametrize(
    "foreign",
    [
        DPMSolverMultistepScheduler(use_flow_sigmas=True, prediction_type="flow_prediction"),
        EulerDiscreteScheduler(use_beta_sigmas=True),
        DDIMScheduler(rescale_betas_zero_snr=True, thresholding=True),
    ],
    ids=lambda each: type(each).__name__,
)
def test_settings_that_would_change_the_noise_levels_are_not_kept(foreign: Any) -> None:
    check_distribution(sample_oracle(foreign, 100))


@pytest.mark.parametrize("scheduler_class", [DDIMInverseScheduler, FlowMatchEulerDiscreteScheduler, PNDMScheduler])
def test_a_scheduler_that_is_not_proven_is_refused_by_name(scheduler_class: Any) -> None:
    with pytest.raises(UserError, match=scheduler_class.__name__):
        make_scheduler(scheduler_class(), GaussianOracle())


@pytest.mark.parametrize("steps", [150, 300, 600])
def test_ddim_refuses_steps_that_leave_noise_and_names_the_next_that_do_not(steps: int) -> None:
    with pytest.raises(UserError, match="`steps`") as caught:
        sample_oracle("ddim", steps)
    fewer, more = (int(number) for number in re.findall(r"\d+", str(caught.value))[:2])
    assert fewer < steps < more
    for neighbour in (fewer, more):
        check_distribution(sample_oracle("ddim", neighbour), tolerance=0.12)


@pytest.mark.parametrize("steps", [-1, 0, 1001])
def test_a_number_of_steps_out_of_range_is_refused(steps: int) -> None:
    with pytest.raises(UserError, match="`steps`"):
        sample_oracle("ddpm", steps)


@pytest.mark.parametrize("name", SCHEDULERS)
def test_a_number_of_steps_that_is_rounded_to_one_too_many_does_no_harm(name: str) -> None:
    check_distribution(sample_oracle(name, 61), tolerance=0.15)


@pytest.mark.parametrize("name", SCHEDULERS)
def test_an_error_of_the_network_stays_small_in_the_images(name: str) -> None:
    # At t = 999 the signal is 5e-5 of the image: whoever divides by it unclipped blows every error up.
    for steps in (5, 20):
        images = sample_oracle(name, steps, prediction_type="epsilon", error=0.01)
        for images_of_label, mean in zip(images, MEANS, strict=True):
            assert images_of_label.mean().item() == pytest.approx(mean, abs=0.1)
            assert images_of_label.std().item() < 2 * STD


@pytest.mark.parametrize("name", SCHEDULERS)
def test_a_scheduler_that_is_made_again_is_the_same_and_keeps_its_name(name: str) -> None:
    once = make_scheduler(name, GaussianOracle())
    again = make_scheduler(once, GaussianOracle())
    assert json.loads(again.to_json_string()) == json.loads(once.to_json_string())
    assert scheduler_name(again, GaussianOracle()) == name
    assert (
        scheduler_name(DPMSolverMultistepScheduler(solver_order=3), GaussianOracle()) == "DPMSolverMultistepScheduler"
    )


def test_a_variance_that_the_model_does_not_predict_is_refused() -> None:
    with pytest.raises(UserError, match="`variance_type`"):
        make_scheduler(PROVEN["DDPMScheduler"](variance_type="learned_range"), GaussianOracle())
