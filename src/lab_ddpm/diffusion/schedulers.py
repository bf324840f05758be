"""Samplers: diffusers schedulers, by name or from anywhere, always on the noise schedule of the denoiser.

A scheduler that is made with another model's config (a linear schedule for a network trained on squaredcos_cap_v2,
say) silently starts every step from the wrong noise level. So the noise schedule and what the network predicts are
never taken from a scheduler: `make_scheduler` makes each one anew with those of the denoiser, and keeps only what it
was told about the sampler itself (the order of a solver, Karras' spacing, ...).
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from diffusers import (
    DDIMInverseScheduler,
    DDPMScheduler,
    DPMSolverMultistepInverseScheduler,
    DPMSolverMultistepScheduler,
    DPMSolverSDEScheduler,
    EulerAncestralDiscreteScheduler,
    EulerDiscreteScheduler,
    HeunDiscreteScheduler,
    KDPM2AncestralDiscreteScheduler,
    KDPM2DiscreteScheduler,
    PNDMScheduler,
    UnCLIPScheduler,
    UniPCMultistepScheduler,
)

from lab_ddpm.diffusion.denoiser import Denoiser
from lab_ddpm.tools.errors import UserError, check_choice, first_line

# Any diffusers scheduler: their common base class declares neither `config` nor `step`.
Scheduler = Any

# "trailing" spacing starts every sampler at the noisiest step, T - 1 (arXiv:2305.08891); "leading" would start a
# 5-step run at t = 800. DDIM is DPM-Solver++ of the first order (arXiv:2211.01095, section 4.1); diffusers' own
# DDIMScheduler steps to t - T // n instead of to the next timestep, and ends in noise where n does not divide T.
_DEFAULTS = {"timestep_spacing": "trailing"}

# A spacing of our own: t = T (1 - (i / n)^1.5) for step i of n. What stands where is decided in the noisiest steps, and
# there a short run needs most of them (docs/experiments.md, "Steps where there is most noise").
# It is kept in a scheduler's config under a private name, which diffusers carries along and does not read.
_EARLY, _EARLY_POWER = "_early_timesteps", 1.5
_OTHER_SPACINGS = ("use_karras_sigmas", "use_exponential_sigmas", "use_lu_lambdas")

# Nothing but the denoiser says what the noise levels are, clips, or says what is predicted. (PNDM's Runge-Kutta steps
# divide by the signal at t = 999, of which there is none.)
_NEVER = {
    "trained_betas": None,
    "rescale_betas_zero_snr": False,
    "use_flow_sigmas": False,
    "use_beta_sigmas": False,
    "interpolation_type": "linear",
    "clip_sample": False,
    "thresholding": False,
    "skip_prk_steps": True,
}

# These solvers average slopes, in sigma = sqrt(1 / abar - 1). From sigma = 20,000, t = 999 of squaredcos_cap_v2, that
# blows up any error of the second slope: they start under the sigma_max of Heun's paper, at t = 990.
_SECOND_SLOPE = (HeunDiscreteScheduler, KDPM2DiscreteScheduler, KDPM2AncestralDiscreteScheduler)
_MAX_NOISE_LEVEL = 80.0

# They cannot be given a clean image, so they are given the noise that it implies.
_TAKES_NOISE = (
    DPMSolverSDEScheduler,
    EulerAncestralDiscreteScheduler,
    KDPM2AncestralDiscreteScheduler,
    KDPM2DiscreteScheduler,
    PNDMScheduler,
)

# They have betas, and run a process of another kind.
_NO_SAMPLERS = (DDIMInverseScheduler, DPMSolverMultistepInverseScheduler, UnCLIPScheduler)

_SDE = {"solver_order": 2, "algorithm_type": "sde-dpmsolver++"}

SCHEDULERS: dict[str, tuple[Any, dict[str, Any]]] = {
    "ddpm": (DDPMScheduler, {}),
    "ddim": (DPMSolverMultistepScheduler, {"solver_order": 1}),
    "dpmpp": (DPMSolverMultistepScheduler, {"solver_order": 2}),
    "dpmpp_sde": (DPMSolverMultistepScheduler, _SDE),
    "dpmpp_sde_early": (DPMSolverMultistepScheduler, {**_SDE, _EARLY: True}),
    "unipc": (UniPCMultistepScheduler, {"solver_order": 2}),
    "euler": (EulerDiscreteScheduler, {}),
    "heun": (HeunDiscreteScheduler, {}),
}


def make_scheduler(scheduler: str | Scheduler, denoiser: Denoiser) -> Scheduler:
    """A sampler on the noise schedule of `denoiser`.

    Args:
        scheduler: "ddpm" (arXiv:2006.11239), "ddim" (arXiv:2010.02502), "dpmpp" and "dpmpp_sde" (arXiv:2211.01095),
            "dpmpp_sde_early" (the same with most steps where there is most noise), "unipc" (arXiv:2302.04867), "euler"
            or "heun" (arXiv:2206.00364); or a diffusers scheduler with betas, however it was made, of which all is kept
            that was given explicitly and is not the noise schedule.
        denoiser: Its `num_train_timesteps` and `beta_schedule`.

    Raises:
        UserError: An unknown name, a scheduler of another kind, or one that cannot have the denoiser's noise levels.
    """
    if isinstance(scheduler, str):
        check_choice("scheduler", scheduler, SCHEDULERS)
        scheduler_class, own = SCHEDULERS[scheduler]
    else:
        scheduler_class = type(scheduler)
        config = {} if isinstance(scheduler, type) else getattr(scheduler, "config", {})
        if not {"beta_schedule", "prediction_type"} <= set(config) or isinstance(scheduler, _NO_SAMPLERS):
            raise UserError(
                f"`scheduler` must be one of {list(SCHEDULERS)} or a diffusers sampler with a beta schedule, "
                f"got a {scheduler_class.__name__}"
            )
        defaults = config.get("_use_default_values", ())
        own = {key: value for key, value in _settings(config).items() if key not in defaults}
    training = DDPMScheduler(denoiser.config["num_train_timesteps"], beta_schedule=denoiser.config["beta_schedule"])
    shared = {key: training.config[key] for key in ("num_train_timesteps", "beta_start", "beta_end", "beta_schedule")}
    shared |= _NEVER
    shared |= {"prediction_type": "epsilon" if issubclass(scheduler_class, _TAKES_NOISE) else "sample"}
    known = inspect.signature(scheduler_class.__init__).parameters
    settings = {key: value for key, value in {**_DEFAULTS, **own, **shared}.items() if key in known}
    try:
        made: Scheduler = scheduler_class.from_config(settings)
    except (NotImplementedError, ValueError) as error:
        raise UserError(f"{scheduler_class.__name__} does not fit this model: {first_line(error)}") from None
    if not torch.equal(made.alphas_cumprod, training.alphas_cumprod):
        raise UserError(f"{scheduler_class.__name__} has noise levels of its own, which are not those of this model")
    is_spaced_anew = own.get("timestep_spacing", "trailing") != "trailing" or any(map(own.get, _OTHER_SPACINGS))
    if own.get(_EARLY) and scheduler_class is DPMSolverMultistepScheduler and not is_spaced_anew:
        made.register_to_config(**{_EARLY: True})
    return made


def scheduler_name(scheduler: Scheduler, denoiser: Denoiser) -> str:
    """The name by which `make_scheduler` makes one like it for the denoiser; without any, the name of its class."""
    for name, (scheduler_class, _) in SCHEDULERS.items():
        if isinstance(scheduler, scheduler_class):
            named = make_scheduler(name, denoiser)
            if _settings(named.config) == _settings(scheduler.config):
                return name
    return type(scheduler).__name__


def _settings(config: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in config.items() if key[0] != "_" or key == _EARLY}


def sampling_timesteps(
    scheduler: Scheduler, num_inference_steps: int, device: torch.device | None = None
) -> torch.Tensor:
    """Prepare `scheduler` for a run; returns the timesteps of its network calls, falling, in [0, T - 1].

    Heun's sampler, for one, calls the network twice in most steps. For 62 of the 1000 numbers of steps (61, 103, ...)
    diffusers rounds to one step too many, at t = -1; it is left out.

    Raises:
        UserError: A number of steps that is not in [1, T].
    """
    num_train_timesteps = scheduler.config["num_train_timesteps"]
    if not 1 <= num_inference_steps <= num_train_timesteps:
        raise UserError(f"`steps` must be between 1 and {num_train_timesteps}, got {num_inference_steps}")
    asked: dict[str, Any] = {"num_inference_steps": num_inference_steps}
    if scheduler.config.get(_EARLY):
        asked = {"timesteps": _early_timesteps(num_train_timesteps, num_inference_steps)}
    elif isinstance(scheduler, _SECOND_SLOPE):
        noise_levels = (1 / scheduler.alphas_cumprod - 1).sqrt()
        asked["num_train_timesteps"] = int((noise_levels < _MAX_NOISE_LEVEL).sum())
    device = device or torch.device("cpu")
    scheduler.set_timesteps(**asked, device=device)
    if scheduler.timesteps[-1] < 0 and "timesteps" in inspect.signature(scheduler.set_timesteps).parameters:
        asked = {"timesteps": scheduler.timesteps[:-1].tolist()}
        scheduler.set_timesteps(**asked, device=device)  # so that it knows its last step
    return scheduler.timesteps[scheduler.timesteps >= 0]


def _early_timesteps(num_train_timesteps: int, num_inference_steps: int) -> list[int]:
    """`num_inference_steps` timesteps, falling from T - 1, most of them where there is most noise; all differ."""
    steps = np.arange(num_inference_steps)
    spaced = np.round(num_train_timesteps * (1 - (steps / num_inference_steps) ** _EARLY_POWER)) - 1
    return (np.minimum.accumulate(spaced + steps) - steps).astype(int).tolist()
