"""From conditions to pictures: the reverse process of a denoiser.

    x_T ~ N(0, I);   x_{t-1} = scheduler.step(x_0(x_t, c), t, x_t)          with x_0(x_t, c) of `denoiser`

Where a part of the clean sample is known (`Known`), it takes the place of what is predicted there, so a sampler whose
steps depend on x_0 leads exactly to it, and the rest is drawn to go with it.

Pictures are functions of their seeds: `picture_seeds(seed, n)` gives each of n pictures its own generator, so that none
depends on the batch it is in, and a call with `seed=0` makes the pictures that the commands make with `--seed 0`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import DiffusionPipeline, ImagePipelineOutput
from numpy.typing import NDArray

from lab_ddpm.data.conditions import Condition
from lab_ddpm.data.images import to_pil, to_uint8
from lab_ddpm.diffusion.denoiser import Denoiser
from lab_ddpm.diffusion.noise import from_clean
from lab_ddpm.diffusion.schedulers import Scheduler, make_scheduler, sampling_timesteps
from lab_ddpm.tools.errors import DataError, UserError, check_at_least, check_choice, check_share, did_you_mean
from lab_ddpm.tools.shipped import find, pipelines

OUTPUT_TYPES = ("pil", "np", "pt")

FINISHED = -1  # the timestep of finished pictures
# Called with (timestep, (B, C, H, W) noisy pictures) before each step, and with the FINISHED ones at the end.
StateCallback = Callable[[int, torch.Tensor], None]


def picture_seeds(seed: int, count: int) -> list[int]:
    """Seeds of `count` pictures of run `seed`: 32-bit hashes of (seed, index).

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


class LabelConditionalPipeline(DiffusionPipeline):
    """Samples pictures for conditions.

        pipe = LabelConditionalPipeline.from_pretrained("pretrained/iclevr-cpu")
        pipe(["red cube, cyan sphere", "gray cylinder"], seed=0).images

    Args:
        denoiser: The trained model.
        scheduler: Any diffusers scheduler with betas, or a name of `schedulers.SCHEDULERS`; one that is put in its
            place later (`pipe.scheduler = EulerDiscreteScheduler()`) is brought to the denoiser's noise schedule too.
        guidance_scale: The guidance that the model was chosen with; taken where a call names none.
        fit: How its training pictures got their size, as in `images.fit_picture`.
        num_inference_steps: Of the scheduler; taken where a call names none.
        guidance_stop: The share of the noise levels, from the noisiest on, that is guided; below it the guidance scale
            is 1, and a step costs half as much (arXiv:2404.07724; `stop` of diffusers' guiders). Taken where a call
            names none.
    """

    def __init__(
        self,
        denoiser: Denoiser,
        scheduler: str | Scheduler,
        guidance_scale: float = 1.0,
        fit: str = "squash",
        num_inference_steps: int = 50,
        guidance_stop: float = 1.0,
    ) -> None:
        super().__init__()
        self.register_modules(denoiser=denoiser)
        self.register_modules(scheduler=make_scheduler(scheduler, denoiser))
        self.register_to_config(
            guidance_scale=guidance_scale,
            fit=fit,
            num_inference_steps=num_inference_steps,
            guidance_stop=guidance_stop,
        )

    def __setattr__(self, name: str, value: Any) -> None:
        """A scheduler that is put in its place is brought to the noise schedule of the denoiser."""
        super().__setattr__(name, make_scheduler(value, self.denoiser) if name == "scheduler" else value)

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str | Path, **options: Any) -> LabelConditionalPipeline:
        """As in diffusers; what comes with the package (`pretrained/iclevr-cpu`) is found from any folder.

        Raises:
            DataError: There is no such folder, and the Hub gave no such pipeline either.
        """
        path = find(pretrained_model_name_or_path)
        try:
            return super().from_pretrained(str(path), **options)
        except (OSError, ValueError) as error:
            if path.exists():
                raise
            raise DataError(
                f"{did_you_mean(path, pipelines())}{path}: no such folder, and the Hub gave no pipeline of this name"
            ) from error

    @torch.no_grad()
    def __call__(
        self,
        conditions: Sequence[str | Condition] | torch.Tensor | NDArray[Any] | None = None,
        num_inference_steps: int | None = None,
        guidance_scale: float | None = None,
        seed: int | None = None,
        generator: torch.Generator | Sequence[torch.Generator] | None = None,
        batch_size: int | None = None,
        output_type: str = "pil",
        return_dict: bool = True,
        callback_on_step_end: Callable[[Any, int, int, dict[str, Any]], dict[str, Any] | None] | None = None,
        noisy_samples: torch.Tensor | None = None,
        start_timestep: int | None = None,
        guidance_stop: float | None = None,
    ) -> ImagePipelineOutput | tuple[Any]:
        """Sample one picture per condition.

        Args:
            conditions: "red cube, cyan sphere" or ("red cube", "cyan sphere") each, or a (B, num_labels) tensor or
                array, or (B, K, num_labels) of composed conditions (`Denoiser.compose`). None samples `batch_size`
                pictures under no condition.
            num_inference_steps: Denoising steps. None takes the pipeline's own.
            guidance_scale: 1 is unguided. None takes the pipeline's own.
            seed: Of all random numbers; see `picture_seeds`.
            generator: In place of a seed: one CPU generator per picture, or one for all. With neither, pictures are
                new at each call.
            batch_size: Pictures, where there are no conditions; None is one.
            output_type: "pil"; "np" (B, H, W, C) or "pt" (B, C, H, W) float32 in [0, 1].
            return_dict: False returns a tuple with the pictures in place of an object with `.images`.
            callback_on_step_end: Called as f(pipeline, step, timestep, {"sample": x}) after each step with the sample,
                see `denoiser`, on the scale of the scheduler; what it returns under that name, if anything, takes its
                place.
            noisy_samples: (B, *space.shape) samples at the noise level of `start_timestep` to go on from, in place of
                pure noise.
            start_timestep: The first of the scheduler's timesteps that is at most this one is where it starts.
            guidance_stop: In [0, 1]. None takes the pipeline's own.

        Raises:
            UserError: A condition or a guidance that does not fit the model; both conditions and a batch size, or a
                seed and a generator; only one of `noisy_samples` and `start_timestep`; or a sampler that scales its
                samples is to start in the middle.
        """
        check_choice("output_type", output_type, OUTPUT_TYPES)
        if conditions is None:
            batch_size = 1 if batch_size is None else batch_size
            check_at_least("batch_size", batch_size, 1)
            class_labels = self.denoiser.null_labels(batch_size)
        elif batch_size is not None:
            raise UserError(f"`batch_size` must not be given with conditions, one per picture, got {batch_size}")
        else:
            class_labels = self.denoiser.class_labels(conditions)
        if seed is not None and generator is not None:
            raise UserError("`seed` and `generator` must not be given both")
        if seed is not None:
            check_at_least("seed", seed, 0)
        if generator is None:
            seed = int(torch.randint(2**31, ())) if seed is None else seed
            generator = [torch.Generator().manual_seed(word) for word in picture_seeds(seed, len(class_labels))]
        elif isinstance(generator, torch.Generator):
            generator = [generator] * len(class_labels)
        steps = self.config["num_inference_steps"] if num_inference_steps is None else num_inference_steps
        calls = len(sampling_timesteps(self.scheduler, steps))
        with self.progress_bar(total=calls) as bar:  # pyright: ignore[reportCallIssue]

            def step_end(step: int, timestep: int, sample: torch.Tensor) -> torch.Tensor:
                bar.update()
                if callback_on_step_end is None:
                    return sample
                changed = callback_on_step_end(self, step, timestep, {"sample": sample}) or {}
                return changed.get("sample", sample)

            sample = self.sample(
                class_labels,
                generator,
                steps,
                self.denoiser.check_guidance(class_labels, guidance_scale, self.config["guidance_scale"]),
                noisy_samples=noisy_samples,
                start_timestep=start_timestep,
                guidance_stop=guidance_stop,
                on_step_end=step_end,
            )
        return _output(self.denoiser.space.decode(sample), output_type, return_dict)

    @torch.no_grad()
    def sample(
        self,
        class_labels: torch.Tensor,
        generators: Sequence[torch.Generator],
        num_inference_steps: int,
        guidance_scale: float = 1.0,
        scheduler: Scheduler = None,
        noisy_samples: torch.Tensor | None = None,
        start_timestep: int | None = None,
        known: Known | None = None,
        guidance_stop: float | None = None,
        on_state: StateCallback | None = None,
        on_step_end: Callable[[int, int, torch.Tensor], torch.Tensor] | None = None,
    ) -> torch.Tensor:
        """The reverse process: (B, num_labels) rows, a CPU generator for each -> (B, *space.shape) clean samples.

        The rows may also be (B, K, num_labels) of composed conditions (`guidance`).
        `guidance_scale` is what `Denoiser.check_guidance` returned; a `scheduler` from `make_scheduler` is taken in the
        place of the pipeline's own; `on_state` watches; `on_step_end` (step, timestep, sample) -> sample may change it;
        the rest is as in `__call__`.
        """
        denoiser: Denoiser = self.denoiser
        scheduler = scheduler or self.scheduler
        if not 0 < len(class_labels) == len(generators):
            raise UserError(
                f"there must be one generator per picture, got {len(generators)} for {len(class_labels)} conditions"
            )
        if (noisy_samples is None) != (start_timestep is None):
            raise UserError(
                "`noisy_samples` and `start_timestep` must be given together: pictures, and their noise level"
            )
        stop: float = self.config["guidance_stop"] if guidance_stop is None else guidance_stop
        check_share("guidance_stop", stop)
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
            scale = denoiser.guidance_at(int(timestep), guidance_scale, stop)
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


def _output(images: torch.Tensor, output_type: str, return_dict: bool) -> ImagePipelineOutput | tuple[Any]:
    if output_type == "pil":
        pictures: Any = [to_pil(picture) for picture in to_uint8(images)]
    elif output_type == "np":
        pictures = ((images + 1) / 2).movedim(1, -1).cpu().numpy()
    else:
        pictures = (images + 1) / 2
    return ImagePipelineOutput(images=pictures) if return_dict else (pictures,)
