"""Samplers: diffusers schedulers, by name or as objects, always on the noise schedule of the denoiser.

A scheduler that was made for another model, such as a linear schedule for a network trained on squaredcos_cap_v2,
starts every step from the wrong noise level, without an error. So `make_scheduler` builds each one anew. It takes the
noise schedule and the prediction type from the denoiser, and keeps the scheduler's other settings (the order of a
solver, Karras' spacing).
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import torch
from diffusers import (
    DDIMScheduler,
    DDPMScheduler,
    DEISMultistepScheduler,
    DPMSolverMultistepScheduler,
    EulerAncestralDiscreteScheduler,
    EulerDiscreteScheduler,
    HeunDiscreteScheduler,
    UniPCMultistepScheduler,
)

from lab_ddpm.diffusion.denoiser import Denoiser
from lab_ddpm.diffusion.scheduler_names import SCHEDULERS
from lab_ddpm.tools.errors import UserError, check_choice, first_line

# Any diffusers scheduler: their common base class declares neither `config` nor `step`.
Scheduler = Any

# "trailing" spacing starts every sampler at the noisiest timestep, T - 1 (arXiv:2305.08891); "leading" would start a
# run of 5 steps at t = 800.
_DEFAULTS = {"timestep_spacing": "trailing"}

# The denoiser alone sets the noise levels, and clips.
_NEVER = {
    "trained_betas": None,
    "rescale_betas_zero_snr": False,
    "use_flow_sigmas": False,
    "use_beta_sigmas": False,
    "interpolation_type": "linear",
    "clip_sample": False,
    "thresholding": False,
}

# These end in the distribution of the data with any of their settings (tests/diffusion/test_schedulers).
PROVEN = (
    DDIMScheduler,
    DDPMScheduler,
    DEISMultistepScheduler,
    DPMSolverMultistepScheduler,
    EulerAncestralDiscreteScheduler,
    EulerDiscreteScheduler,
    HeunDiscreteScheduler,
    UniPCMultistepScheduler,
)
_CLASSES = {each.__name__: each for each in PROVEN}

# Heun averages slopes in sigma = sqrt(1 / abar - 1). From sigma = 20,000, t = 999 of squaredcos_cap_v2, that blows up
# any error of the second slope: it starts below the sigma_max of its paper (arXiv:2206.00364), at t = 990.
_MAX_NOISE_LEVEL = 80.0

# DDIMScheduler steps to t - T // n, not to its next timestep. Where the steps cover less than this share of T, the
# noise that stays in the image can be seen.
_LEAST_COVERED = 0.95


def make_scheduler(scheduler: str | Scheduler, denoiser: Denoiser) -> Scheduler:
    """A new sampler on the noise schedule of `denoiser`.

    Args:
        scheduler: "ddpm" (arXiv:2006.11239), "ddim" (arXiv:2010.02502), "dpmpp" and "dpmpp_sde" (arXiv:2211.01095),
            "unipc" (arXiv:2302.04867), "euler" or "heun" (arXiv:2206.00364); or a scheduler of one of the classes in
            `PROVEN`.
        denoiser: Its `noise_scheduler` has the noise levels.

    Raises:
        UserError: An unknown name, a scheduler of another class, or one that cannot have these noise levels.
    """
    if isinstance(scheduler, str):
        check_choice("scheduler", scheduler, SCHEDULERS)
        class_name, own = SCHEDULERS[scheduler]
        scheduler_class: Any = _CLASSES[class_name]
    else:
        scheduler_class = type(scheduler)
        if scheduler_class not in PROVEN:
            proven = ", ".join(_CLASSES)
            name = scheduler.__name__ if isinstance(scheduler, type) else scheduler_class.__name__
            raise UserError(f"`scheduler` must be one of {list(SCHEDULERS)}, or an instance of {proven}, got {name}")
        defaults = scheduler.config.get("_use_default_values", ())
        own = {key: value for key, value in _settings(scheduler.config).items() if key not in defaults}
    training = denoiser.noise_scheduler
    shared = {key: training.config[key] for key in ("num_train_timesteps", "beta_start", "beta_end", "beta_schedule")}
    takes_clean = scheduler_class is not EulerAncestralDiscreteScheduler  # which takes the noise that it implies
    shared |= {**_NEVER, "prediction_type": "sample" if takes_clean else "epsilon"}
    known = inspect.signature(scheduler_class.__init__).parameters
    settings = {key: value for key, value in {**_DEFAULTS, **own, **shared}.items() if key in known}
    if str(settings.get("variance_type")).startswith("learned"):
        raise UserError(f"`variance_type` must not be {settings['variance_type']!r}: this model predicts no variance")
    try:
        made: Scheduler = scheduler_class.from_config(settings)
    except (NotImplementedError, ValueError) as error:
        raise UserError(f"{scheduler_class.__name__} does not fit this model: {first_line(error)}") from None
    if not torch.equal(made.alphas_cumprod, training.alphas_cumprod.cpu()):
        raise UserError(f"{scheduler_class.__name__} has noise levels of its own, which are not those of this model")
    return made


def scheduler_name(scheduler: str | Scheduler, denoiser: Denoiser) -> str:
    """The name from which `make_scheduler` makes an equal scheduler for the denoiser, or else the name of its class."""
    made = make_scheduler(scheduler, denoiser)
    for name, (class_name, _) in SCHEDULERS.items():
        if class_name == type(made).__name__:
            named = make_scheduler(name, denoiser)
            if _settings(named.config) == _settings(made.config):
                return name
    return type(made).__name__


def _settings(config: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in config.items() if key[0] != "_"}


def set_timesteps(scheduler: Scheduler, steps: int) -> torch.Tensor:
    """Prepare a scheduler for a run; returns the falling timesteps of its network calls, in [0, T - 1].

    They are on the CPU, like all numbers of the scheduler: its decisions make no GPU wait.

    Heun's sampler calls the network twice in most steps. For 62 of the 1000 numbers of steps (61, 103, ...) diffusers
    rounds to an extra step at t = -1, which is left out.

    Raises:
        UserError: A number of steps that is not in [1, T], or for which "ddim" leaves noise in the image.
    """
    num_train_timesteps = scheduler.config["num_train_timesteps"]
    if not 1 <= steps <= num_train_timesteps:
        raise UserError(f"`steps` must be between 1 and {num_train_timesteps}, got {steps}")
    if isinstance(scheduler, DDIMScheduler):
        _check_ddim_steps(steps, num_train_timesteps)
    asked: dict[str, Any] = {"num_inference_steps": steps}
    if isinstance(scheduler, HeunDiscreteScheduler):
        noise_levels = (1 / scheduler.alphas_cumprod - 1).sqrt()
        asked["num_train_timesteps"] = int((noise_levels < _MAX_NOISE_LEVEL).sum())
    scheduler.set_timesteps(**asked)
    if scheduler.timesteps[-1] < 0 and "timesteps" in inspect.signature(scheduler.set_timesteps).parameters:
        asked = {"timesteps": scheduler.timesteps[:-1].tolist()}
        scheduler.set_timesteps(**asked)  # so that it knows its last step
    timesteps = scheduler.timesteps[scheduler.timesteps >= 0]
    if timesteps[0] >= num_train_timesteps:  # of "leading" spacing with a large `steps_offset`
        raise UserError(f"the scheduler must start below timestep {num_train_timesteps}, got {int(timesteps[0])}")
    return timesteps


def _check_ddim_steps(steps: int, num_train_timesteps: int) -> None:
    def works(count: int) -> bool:
        return count * (num_train_timesteps // count) >= _LEAST_COVERED * num_train_timesteps

    if not works(steps):
        fewer = next(count for count in range(steps, 0, -1) if works(count))
        more = next(count for count in range(steps, num_train_timesteps + 1) if works(count))
        raise UserError(f"`steps` must be {fewer} or {more} for 'ddim', which leaves noise in the image with {steps}")
