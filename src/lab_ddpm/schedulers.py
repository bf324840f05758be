"""Samplers by name: diffusers schedulers that always share the noise schedule of the training.

A scheduler that is loaded with another model's config (a linear schedule for a network trained on
squaredcos_cap_v2, say) silently starts every step from the wrong noise level. So there is one way to make one:
`from_config` of the training scheduler's config, with the few settings below that keep a sampler stable.
"""

from __future__ import annotations

from typing import Any

import torch
from diffusers import (
    DDPMScheduler,
    DPMSolverMultistepScheduler,
    EulerDiscreteScheduler,
    HeunDiscreteScheduler,
    UniPCMultistepScheduler,
)

from lab_ddpm.errors import UserError, check_choice

# Any diffusers scheduler: their common base class declares neither `config` nor `step`.
Scheduler = Any

# "trailing" spacing starts every sampler at the noisiest step, T - 1 (arXiv:2305.08891); "leading" would start a
# 5-step run at t = 800. DDIM is DPM-Solver++ of the first order (arXiv:2211.01095, section 4.1); diffusers' own
# DDIMScheduler steps to t - T // n instead of to the next timestep, and ends in noise where n does not divide T.
TIMESTEP_SPACING = "trailing"
_TRAILING = {"timestep_spacing": TIMESTEP_SPACING}

# Heun's sampler averages the slopes at both ends of a step, in sigma = sqrt(1 / abar - 1). From sigma = 20,000, t = 999
# of squaredcos_cap_v2, that blows up any error of the second slope: it starts under its paper's sigma_max, at t = 990.
_HEUN_MAX_NOISE_LEVEL = 80.0

BETA_SCHEDULES = ("linear", "scaled_linear", "squaredcos_cap_v2", "sigmoid")

SCHEDULERS: dict[str, tuple[Any, dict[str, Any]]] = {
    "ddpm": (DDPMScheduler, _TRAILING),
    "ddim": (DPMSolverMultistepScheduler, {**_TRAILING, "solver_order": 1}),
    "dpmpp": (DPMSolverMultistepScheduler, {**_TRAILING, "solver_order": 2}),
    "unipc": (UniPCMultistepScheduler, {**_TRAILING, "solver_order": 2}),
    "euler": (EulerDiscreteScheduler, _TRAILING),
    "heun": (HeunDiscreteScheduler, _TRAILING),
}


def make_scheduler(name: str, noise_scheduler: Scheduler, num_inference_steps: int) -> Scheduler:
    """The sampler `name` on the noise schedule of `noise_scheduler`.

    Args:
        name: "ddpm" (arXiv:2006.11239), "ddim" (arXiv:2010.02502), "dpmpp" (arXiv:2211.01095),
            "unipc" (arXiv:2302.04867), "euler" or "heun" (arXiv:2206.00364).
        noise_scheduler: The scheduler that the model was trained with, or any made from its config.
        num_inference_steps: Denoising steps, at most the number of training timesteps.

    Raises:
        UserError: An unknown name, or a number of steps out of range.
    """
    check_choice("scheduler", name, SCHEDULERS)
    num_train_timesteps = noise_scheduler.config["num_train_timesteps"]
    if not 1 <= num_inference_steps <= num_train_timesteps:
        raise UserError(f"`steps` must be between 1 and {num_train_timesteps}, got {num_inference_steps}")
    scheduler_class, settings = SCHEDULERS[name]
    # Without this key diffusers would drop what the training scheduler has by default (beta_start, say), and put the
    # defaults of the sampler's class there.
    config = {key: value for key, value in noise_scheduler.config.items() if key != "_use_default_values"}
    return scheduler_class.from_config(config, **settings)


def is_ddim(scheduler: Scheduler) -> bool:
    """Whether `make_scheduler` made it under the name "ddim"."""
    return isinstance(scheduler, DPMSolverMultistepScheduler) and scheduler.config["solver_order"] == 1


def sampling_timesteps(
    scheduler: Scheduler, num_inference_steps: int, device: torch.device | None = None
) -> torch.Tensor:
    """Prepare `scheduler` for a run; returns the timesteps of its network calls, falling, in [0, T - 1].

    Heun's sampler calls the network twice in most steps. For 62 of the 1000 numbers of steps (61, 103, ...)
    diffusers rounds to one step too many, at t = -1; it is left out.
    """
    options = {}
    starts_lower = isinstance(scheduler, HeunDiscreteScheduler)
    if starts_lower:
        noise_levels = (1 / scheduler.alphas_cumprod - 1).sqrt()
        options["num_train_timesteps"] = int((noise_levels < _HEUN_MAX_NOISE_LEVEL).sum())
    scheduler.set_timesteps(num_inference_steps, device=device, **options)
    return scheduler.timesteps[scheduler.timesteps >= 0]
