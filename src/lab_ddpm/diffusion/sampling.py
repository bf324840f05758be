"""Sampling: from noise to clean samples.

    x_T ~ N(0, I);   x_{t-1} = scheduler.step(x_0(x_t, c), t, x_t)          with x_0(x_t, c) of `denoiser`

`Sampling` holds the scheduler, the number of steps and the guidance. `sample` checks them and draws the samples.

If a part of the clean sample is known (`Known`), it replaces the predicted part. The rest is drawn to match it.

An image depends only on its seed: `image_seeds(seed, n)` gives each of n images its own, so that no image depends on
the batch that it is in.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from lab_ddpm.data.random_numbers import hashed
from lab_ddpm.diffusion.denoiser import Denoiser
from lab_ddpm.diffusion.place_map import place_map_when_sampling
from lab_ddpm.diffusion.places import Places
from lab_ddpm.diffusion.schedulers import Scheduler, make_scheduler, set_timesteps
from lab_ddpm.tools.errors import UserError, check_positive, check_whole

FINISHED = -1  # the timestep of finished images
# Called with (timestep, (B, *space.shape) noisy samples) before each network call, and at the end with FINISHED and the
# clean samples. If it returns samples, they replace these.
StateCallback = Callable[[int, torch.Tensor], torch.Tensor | None]


@dataclass(frozen=True)
class Sampling:
    """How images are sampled.

    Attributes:
        scheduler: A name or a diffusers scheduler, see `schedulers.make_scheduler`.
        steps: Denoising steps.
        guidance_scale: 1 means no guidance (arXiv:2207.12598).

    Raises:
        UserError: A number out of range.
    """

    scheduler: str | Scheduler = "ddim"
    steps: int = 50
    guidance_scale: float = 1.0

    def __post_init__(self) -> None:
        check_whole("steps", self.steps, 1)
        check_positive("guidance_scale", self.guidance_scale)

    def updated(
        self, scheduler: str | Scheduler | None = None, steps: int | None = None, guidance_scale: float | None = None
    ) -> Sampling:
        """The same sampling but for the values that are not None."""
        given = {"scheduler": scheduler, "steps": steps, "guidance_scale": guidance_scale}
        return replace(self, **{key: value for key, value in given.items() if value is not None})


@dataclass(frozen=True)
class Known:
    """The parts of clean samples that are known before they are drawn.

    Attributes:
        values: (B, *space.shape) clean samples, from `SampleSpace.encode`.
        is_known: (B, *space.shape) bool: which of them are known.
    """

    values: torch.Tensor
    is_known: torch.Tensor

    def put_into(self, sample: torch.Tensor) -> torch.Tensor:
        """The samples, with the known values put in."""
        return torch.where(self.is_known.to(sample.device), self.values.to(sample), sample)


@dataclass(frozen=True)
class Start:
    """Where sampling starts, if not from pure noise.

    Attributes:
        samples: (B, *space.shape) noisy samples x_t.
        timestep: t. Sampling starts at the first of the scheduler's timesteps that is at most t.
    """

    samples: torch.Tensor
    timestep: float


def image_seeds(seed: int, count: int) -> list[int]:
    """The seeds of `count` images of run `seed`: 32-bit hashes of (seed, index).

    They are hashes because torch's CPU generator uses only the low 32 bits, and because seed + index would give runs
    with neighbouring seeds the same noise.
    """
    return [hashed(seed, index) for index in range(count)]


def sampling_timesteps(sampling: Sampling, denoiser: Denoiser, start: Start | None = None) -> torch.Tensor:
    """The timesteps of the network calls, in falling order, on the CPU.

    Raises:
        UserError: The model, which may be on the meta device, cannot be sampled in this way.
    """
    return _prepare_scheduler(sampling, denoiser, start)[1]


def _prepare_scheduler(sampling: Sampling, denoiser: Denoiser, start: Start | None) -> tuple[Scheduler, torch.Tensor]:
    """A scheduler that is ready for a run, and its falling timesteps."""
    if sampling.guidance_scale != 1 and not denoiser.config["condition_dropout"]:
        raise UserError(
            f"`guidance_scale` must be 1 for a model without `condition_dropout`, got {sampling.guidance_scale}"
        )
    scheduler = make_scheduler(sampling.scheduler, denoiser)
    timesteps = set_timesteps(scheduler, sampling.steps)
    first = 0 if start is None else int((timesteps > start.timestep).sum())
    if hasattr(scheduler, "set_begin_index"):  # else it looks for its timestep, and Karras' spacing has equal ones
        scheduler.set_begin_index(first)
    return scheduler, timesteps[first:]


def effective_guidance(
    sampling: Sampling, denoiser: Denoiser, class_labels: torch.Tensor, start: Start | None = None
) -> float:
    """The guidance of a batch: 1, which is cheaper, where the network gets neither labels nor clusters."""
    has_clusters = denoiser.clusters is not None and start is None
    return sampling.guidance_scale if has_clusters or class_labels.any() else 1.0


@torch.no_grad()
def sample(
    denoiser: Denoiser,
    class_labels: torch.Tensor,
    seeds: Sequence[int],
    sampling: Sampling,
    known: Known | None = None,
    start: Start | None = None,
    on_state: StateCallback | None = None,
    places: Places | None = None,
) -> torch.Tensor:
    """Draw clean samples; `denoiser.space.decode` turns them into images.

    Args:
        denoiser: The model, on any device.
        class_labels: (B, num_labels), or (B, K, num_labels) of composed conditions, see `guidance`. Rows of zeros are
            the null label, which guidance does not change.
        seeds: B seeds, one for each sample.
        sampling: The scheduler, the steps and the guidance.
        known: The parts of the samples that are known.
        start: Noisy samples to start from instead of pure noise.
        on_state: A function that watches the samples and may change them.
        places: Where the objects stand, for a model with a layout. If None, its placer decides them, but the network
            gets none for the null label, for mixtures, and from a `start`, in which the objects have their places.

    Returns:
        (B, *space.shape) float32, clipped.

    Raises:
        UserError: A sampling that does not fit the model, labels that are not rows of its vocabulary, another number
            of seeds, or the null label for a model that does not know it.
    """
    check_labels(denoiser, class_labels, seeds)
    scheduler, timesteps = _prepare_scheduler(sampling, denoiser, start)
    generators = [torch.Generator().manual_seed(int(seed)) for seed in seeds]
    takes_generator = "generator" in inspect.signature(scheduler.step).parameters
    options: dict[str, Any] = {"generator": generators} if takes_generator else {}
    guidance_scale, device = effective_guidance(sampling, denoiser, class_labels, start), denoiser.device
    class_labels = class_labels.to(device)
    if denoiser.clusters is not None:  # nobody knows in which cluster a start is
        class_labels = denoiser.clusters.draw(seeds) if start is None else denoiser.clusters.none(len(seeds))
    place_map = place_map_when_sampling(denoiser, class_labels, seeds, places, is_started=start is not None)

    noisy = denoiser.space.draw_noise(generators).to(device) if start is None else start.samples.to(device)
    # some schedulers keep x_t / sqrt(abar) in place of x_t; the input scale leads from theirs to x_t
    state = noisy * scheduler.init_noise_sigma if start is None else noisy / _input_scale(scheduler, timesteps[0])
    for timestep in timesteps:
        noisy = scheduler.scale_model_input(state, timestep)
        if on_state is not None and (changed := on_state(int(timestep), noisy)) is not None:
            noisy, state = changed, changed / _input_scale(scheduler, timestep)
        clean = denoiser.predict_clean(noisy, timestep, class_labels, guidance_scale, place_map)
        if known is not None:
            clean = known.put_into(clean)
        state = scheduler.step(clean, timestep, state, **options).prev_sample
    state = denoiser.space.clip(state if known is None else known.put_into(state))  # not all schedulers end with x_0
    if on_state is not None and (changed := on_state(FINISHED, state)) is not None:
        state = changed
    return state


def _input_scale(scheduler: Scheduler, timestep: torch.Tensor) -> torch.Tensor:
    return scheduler.scale_model_input(torch.ones(()), timestep)


def check_labels(denoiser: Denoiser, class_labels: torch.Tensor, seeds: Sequence[int]) -> None:
    """Raise `UserError` unless `sample` takes these labels and seeds for this model."""
    num_labels = len(denoiser.labels)
    if class_labels.ndim not in (2, 3) or class_labels.shape[-1] != num_labels:
        raise UserError(f"`class_labels` must be (B, {num_labels}) for this model, got {tuple(class_labels.shape)}")
    if not 0 < len(class_labels) == len(seeds):
        raise UserError(f"there must be one seed per image, got {len(seeds)} for {len(class_labels)} conditions")
    knows_null_label = not num_labels or denoiser.config["condition_dropout"]
    if not knows_null_label and (class_labels.ndim == 3 or not class_labels.any(dim=1).all()):
        raise UserError(
            "a model without `condition_dropout` cannot sample without conditions: each image needs one; "
            "train with `--model.condition_dropout 0.1`"
        )
