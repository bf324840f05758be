"""The reverse process: from noise to clean samples.

    x_T ~ N(0, I);   x_{t-1} = scheduler.step(x_0(x_t, c), t, x_t)          with x_0(x_t, c) of `denoiser`

Where a part of the clean sample is known (`Known`), it takes the place of what is predicted there, so a sampler whose
steps depend on x_0 leads exactly to it, and the rest is drawn to go with it.

Images are functions of their seeds: `image_seeds(seed, n)` gives each of n images its own generator, so that none
depends on the batch it is in.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from lab_ddpm.diffusion.denoiser import Denoiser
from lab_ddpm.diffusion.noise import from_clean
from lab_ddpm.diffusion.schedulers import Scheduler, sampling_timesteps
from lab_ddpm.tools.errors import UserError

FINISHED = -1  # the timestep of finished images
# Called with (timestep, (B, C, H, W) noisy images) before each step, and with the FINISHED ones at the end.
StateCallback = Callable[[int, torch.Tensor], None]


def image_seeds(seed: int, count: int) -> list[int]:
    """Seeds of `count` images of run `seed`: 32-bit hashes of (seed, index).

    Hashed because torch's CPU generator ignores all but the low 32 bits, and because seed + index would give
    neighbouring runs the same noise.
    """
    return [int(np.random.SeedSequence((seed, index)).generate_state(1)[0]) for index in range(count)]


@dataclass(frozen=True)
class Known:
    """What is known of clean samples before they are drawn.

    Attributes:
        values: (B, *space.shape) clean samples, from `SampleSpace.encode`.
        until: (B, *space.shape) long: they are known from the noisiest timestep down to this one; 0 is to the end, T is
            not at all.
    """

    values: torch.Tensor
    until: torch.Tensor

    def __getitem__(self, rows: Sequence[int]) -> Known:
        """What is known of some of the samples."""
        return Known(self.values[rows], self.until[rows])

    def put_into(self, sample: torch.Tensor, timestep: int = 0) -> torch.Tensor:
        """The samples with what is known at a timestep in its place.

        Raises:
            UserError: It is known of samples of another shape.
        """
        if not self.values.shape == self.until.shape == sample.shape:
            raise UserError(f"what is known must be of {tuple(sample.shape)}, got {tuple(self.values.shape)}")
        return torch.where((self.until <= timestep).to(sample.device), self.values.to(sample), sample)


@torch.no_grad()
def reverse_process(
    denoiser: Denoiser,
    scheduler: Scheduler,
    class_labels: torch.Tensor,
    generators: Sequence[torch.Generator],
    num_inference_steps: int,
    guidance_scale: float,
    guidance_stop: float,
    noisy_samples: torch.Tensor | None = None,
    start_timestep: int | None = None,
    known: Known | None = None,
    on_state: StateCallback | None = None,
    on_step_end: Callable[[int, int, torch.Tensor], torch.Tensor] | None = None,
) -> torch.Tensor:
    """Draw clean samples.

    Args:
        denoiser: The model, on any device.
        scheduler: From `schedulers.make_scheduler`.
        class_labels: (B, num_labels), or (B, K, num_labels) of composed conditions, see `guidance`.
        generators: B of the CPU.
        num_inference_steps: Denoising steps.
        guidance_scale: As `Denoiser.check_guidance` returned it.
        guidance_stop: See `Denoiser.guidance_at`.
        noisy_samples: (B, *space.shape) at the noise level of `start_timestep` to go on from; None for pure noise.
        start_timestep: The first of the scheduler's timesteps that is at most this one is where it starts.
        known: What is known of the samples.
        on_state: Watches.
        on_step_end: (step, timestep, sample) -> sample, which may be another one.

    Returns:
        (B, *space.shape) float32, clipped.

    Raises:
        UserError: Other numbers of generators and conditions; only one of `noisy_samples` and `start_timestep`; or a
            sampler that scales its samples is to start in the middle.
    """
    if not 0 < len(class_labels) == len(generators):
        raise UserError(
            f"there must be one generator per image, got {len(generators)} for {len(class_labels)} conditions"
        )
    if (noisy_samples is None) != (start_timestep is None):
        raise UserError("`noisy_samples` and `start_timestep` must be given together: images, and their noise level")
    timesteps = sampling_timesteps(scheduler, num_inference_steps, denoiser.device)
    class_labels = class_labels.to(denoiser.device)
    if noisy_samples is None or start_timestep is None:
        sample = denoiser.space.draw_noise(generators).to(denoiser.device) * scheduler.init_noise_sigma
    else:
        if scheduler.init_noise_sigma != 1:
            raise UserError("`scheduler` must be one that does not scale its samples, as ddpm or ddim")
        wanted = (len(class_labels), *denoiser.space.shape)
        if noisy_samples.shape != wanted:
            raise UserError(f"`noisy_samples` must be {wanted}, got {tuple(noisy_samples.shape)}")
        if start_timestep < timesteps[-1]:
            raise UserError(f"`start_timestep` must be at least {int(timesteps[-1])}, got {start_timestep}")
        sample, timesteps = noisy_samples.to(denoiser.device), timesteps[timesteps <= start_timestep]
    if hasattr(scheduler, "set_begin_index"):
        # else it looks for its timestep, of which Karras' spacing has equal ones
        scheduler.set_begin_index(int((scheduler.timesteps > timesteps[0]).sum()))
    takes_generator = "generator" in inspect.signature(scheduler.step).parameters
    options: dict[str, Any] = {"generator": list(generators)} if takes_generator else {}
    for step, timestep in enumerate(timesteps):
        noisy = scheduler.scale_model_input(sample, timestep)
        if on_state is not None:
            on_state(int(timestep), denoiser.space.decode(noisy))
        scale = denoiser.guidance_at(int(timestep), guidance_scale, guidance_stop)
        clean = denoiser.predict_clean(noisy, timestep, class_labels, scale)
        clean = clean if known is None else known.put_into(clean, int(timestep))
        output = from_clean(clean, noisy, denoiser.alpha_bar(timestep), scheduler.config["prediction_type"])
        sample = scheduler.step(output, timestep, sample, **options).prev_sample
        if on_step_end is not None:
            sample = on_step_end(step, int(timestep), sample)
    sample = denoiser.space.clip(sample if known is None else known.put_into(sample))  # not all end with x_0
    if on_state is not None:
        on_state(FINISHED, denoiser.space.decode(sample))
    return sample
