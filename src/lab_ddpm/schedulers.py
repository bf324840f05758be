"""Samplers by name: diffusers schedulers that always share the noise schedule of the training.

A scheduler that is loaded with another model's config (a linear schedule for a network trained on
squaredcos_cap_v2, say) silently starts every step from the wrong noise level. So there is one way to make one:
`from_config` of the training scheduler's config, with the few settings below that keep a sampler stable.
"""

from __future__ import annotations

from typing import Any

from diffusers import (
    DDIMScheduler,
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
# 5-step run at t = 800. At T - 1 the signal is 5e-5 of the picture (squaredcos_cap_v2), and an error of the predicted
# noise is divided by it. DDPM and DDIM survive by clipping the implied clean picture to [-1, 1]; "thresholding" with a
# maximum of 1 is the same clipping in the multistep solvers (UniPC does not know DPM-Solver++'s lambda_min_clipped).
_TRAILING = {"timestep_spacing": "trailing"}
_MULTISTEP = {**_TRAILING, "thresholding": True, "sample_max_value": 1.0}

SCHEDULERS: dict[str, tuple[Any, dict[str, Any]]] = {
    "ddpm": (DDPMScheduler, _TRAILING),
    "ddim": (DDIMScheduler, _TRAILING),
    "dpmpp": (DPMSolverMultistepScheduler, _MULTISTEP),
    "unipc": (UniPCMultistepScheduler, _MULTISTEP),
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
