"""Samplers: diffusers schedulers, by name or as objects, always on the noise schedule of the denoiser.

A scheduler that was made for another model, such as a linear schedule for a network trained on squaredcos_cap_v2,
starts every step from the wrong noise level, without an error. So `make_scheduler` builds each one anew. It takes the
noise schedule from the denoiser, and keeps the scheduler's other settings (the order of a solver, Karras' spacing).
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import diffusers
import torch
from diffusers import DDIMScheduler

from lab_ddpm.diffusion.denoiser import Denoiser
from lab_ddpm.diffusion.scheduler_names import SCHEDULERS
from lab_ddpm.tools.errors import UserError, check_choice

# Any diffusers scheduler: their common base class declares neither `config` nor `step`.
Scheduler = Any

# These end in the distribution of the data with any of their settings (tests/diffusion/test_schedulers).
PROVEN = {name: getattr(diffusers, name) for name, _ in SCHEDULERS.values()}

# The denoiser predicts the clean sample, clips it, and sets the noise levels. "trailing" spacing starts every sampler
# at the noisiest timestep, T - 1 (arXiv:2305.08891); "leading" would start a run of 5 steps at t = 800.
_SHARED = {
    "prediction_type": "sample",
    "clip_sample": False,
    "thresholding": False,
    "timestep_spacing": "trailing",
    "trained_betas": None,
    "rescale_betas_zero_snr": False,
    "use_flow_sigmas": False,
    "use_beta_sigmas": False,
    "interpolation_type": "linear",
}

# DDIMScheduler steps to t - T // n, not to its next timestep. Where the steps cover less than this share of T, the
# noise that stays in the image can be seen.
_LEAST_COVERED = 0.95


def make_scheduler(scheduler: str | Scheduler, denoiser: Denoiser) -> Scheduler:
    """A new sampler on the noise schedule of `denoiser`, for predictions of the clean sample.

    Args:
        scheduler: "ddpm" (arXiv:2006.11239), "ddim" (arXiv:2010.02502), "dpmpp" and "dpmpp_sde" (arXiv:2211.01095),
            "unipc" (arXiv:2302.04867) or "euler" (arXiv:2206.00364); or a scheduler of one of their classes.
        denoiser: Its `noise_scheduler` has the noise levels.

    Raises:
        UserError: An unknown name, a scheduler of another class, or one that needs a predicted variance.
    """
    if isinstance(scheduler, str):
        check_choice("scheduler", scheduler, SCHEDULERS)
        class_name, own = SCHEDULERS[scheduler]
    else:
        class_name = type(scheduler).__name__
        if type(scheduler) not in PROVEN.values():
            choices = f"{list(SCHEDULERS)}, or an instance of {', '.join(PROVEN)}"
            raise UserError(f"`scheduler` must be one of {choices}, got {class_name}")
        defaults = scheduler.config.get("_use_default_values", ())
        own = {key: value for key, value in _settings(scheduler.config).items() if key not in defaults}
    if str(own.get("variance_type")).startswith("learned"):
        raise UserError(f"`variance_type` must not be {own['variance_type']!r}: this model predicts no variance")
    levels = ("num_train_timesteps", "beta_start", "beta_end", "beta_schedule")
    shared = _SHARED | {key: denoiser.noise_scheduler.config[key] for key in levels}
    known = inspect.signature(PROVEN[class_name].__init__).parameters
    return PROVEN[class_name](**{key: value for key, value in {**own, **shared}.items() if key in known})


def scheduler_name(scheduler: str | Scheduler, denoiser: Denoiser) -> str:
    """The name from which `make_scheduler` makes an equal scheduler for the denoiser, or else the name of its class."""
    made = make_scheduler(scheduler, denoiser)
    for name, (class_name, _) in SCHEDULERS.items():
        same_class = class_name == type(made).__name__
        if same_class and _settings(make_scheduler(name, denoiser).config) == _settings(made.config):
            return name
    return type(made).__name__


def _settings(config: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in config.items() if key[0] != "_"}


def set_timesteps(scheduler: Scheduler, steps: int) -> torch.Tensor:
    """Prepare a scheduler for a run; returns the falling timesteps of its network calls, in [0, T - 1].

    They are on the CPU, like all numbers of the scheduler: its decisions make no GPU wait. For 62 of the 1000 numbers
    of steps (61, 103, ...) diffusers rounds to an extra step at t = -1, which is left out.

    Raises:
        UserError: A number of steps that is not in [1, T], or with which "ddim" leaves noise in the image.
    """
    num_train_timesteps = scheduler.config["num_train_timesteps"]
    if not 1 <= steps <= num_train_timesteps:
        raise UserError(f"`steps` must be between 1 and {num_train_timesteps}, got {steps}")
    stride = num_train_timesteps // steps
    if isinstance(scheduler, DDIMScheduler) and steps * stride < _LEAST_COVERED * num_train_timesteps:
        fewer, more = num_train_timesteps // (stride + 1), num_train_timesteps // stride
        raise UserError(f"`steps` must be {fewer} or {more} for 'ddim', which leaves noise in the image with {steps}")
    scheduler.set_timesteps(steps)
    if scheduler.timesteps[-1] < 0 and "timesteps" in inspect.signature(scheduler.set_timesteps).parameters:
        rest: dict[str, Any] = {"timesteps": scheduler.timesteps[:-1].tolist()}
        scheduler.set_timesteps(**rest)  # so that it knows its last step
    return scheduler.timesteps[scheduler.timesteps >= 0]
