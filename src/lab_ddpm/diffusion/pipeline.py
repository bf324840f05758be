"""The pipeline, in the shape of diffusers' own: conditions in, images out.

A call with `seed=0` makes the images that the commands make with `--seed 0`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from diffusers import DiffusionPipeline, ImagePipelineOutput
from numpy.typing import NDArray

from lab_ddpm.data.conditions import Condition
from lab_ddpm.data.images import to_pil, to_uint8
from lab_ddpm.diffusion.denoiser import Denoiser
from lab_ddpm.diffusion.reverse_process import image_seeds, reverse_process
from lab_ddpm.diffusion.schedulers import Scheduler, make_scheduler, sampling_timesteps
from lab_ddpm.tools.errors import DataError, UserError, check_at_least, check_choice, check_share, did_you_mean
from lab_ddpm.tools.shipped import find, pipelines

OUTPUT_TYPES = ("pil", "np", "pt")


class LabelConditionalPipeline(DiffusionPipeline):
    """Samples images for conditions.

        pipe = LabelConditionalPipeline.from_pretrained("pretrained/iclevr-cpu")
        pipe(["red cube, cyan sphere", "gray cylinder"], seed=0).images

    Args:
        denoiser: The trained model.
        scheduler: Any diffusers scheduler with betas, or a name of `schedulers.SCHEDULERS`; one that is put in its
            place later (`pipe.scheduler = EulerDiscreteScheduler()`) is brought to the denoiser's noise schedule too.
        guidance_scale: The guidance that the model was chosen with; taken where a call names none.
        fit: How its training images got their size, as in `images.fit_image`.
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
        """Sample one image per condition.

        Args:
            conditions: "red cube, cyan sphere" or ("red cube", "cyan sphere") each, or a (B, num_labels) tensor or
                array, or (B, K, num_labels) of composed conditions (`Denoiser.compose`). None samples `batch_size`
                images under no condition.
            num_inference_steps: Denoising steps. None takes the pipeline's own.
            guidance_scale: 1 is unguided. None takes the pipeline's own.
            seed: Of all random numbers; see `image_seeds`.
            generator: In place of a seed: one CPU generator per image, or one for all. With neither, images are
                new at each call.
            batch_size: Images, where there are no conditions; None is one.
            output_type: "pil"; "np" (B, H, W, C) or "pt" (B, C, H, W) float32 in [0, 1].
            return_dict: False returns a tuple with the images in place of an object with `.images`.
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
            raise UserError(f"`batch_size` must not be given with conditions, one per image, got {batch_size}")
        else:
            class_labels = self.denoiser.class_labels(conditions)
        if seed is not None and generator is not None:
            raise UserError("`seed` and `generator` must not be given both")
        if seed is not None:
            check_at_least("seed", seed, 0)
        if generator is None:
            seed = int(torch.randint(2**31, ())) if seed is None else seed
            generator = [torch.Generator().manual_seed(word) for word in image_seeds(seed, len(class_labels))]
        elif isinstance(generator, torch.Generator):
            generator = [generator] * len(class_labels)
        steps = self.config["num_inference_steps"] if num_inference_steps is None else num_inference_steps
        timesteps = sampling_timesteps(self.scheduler, steps)
        calls = len(timesteps) if start_timestep is None else int((timesteps <= start_timestep).sum())
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

    def sample(
        self,
        class_labels: torch.Tensor,
        generators: Sequence[torch.Generator],
        num_inference_steps: int,
        guidance_scale: float = 1.0,
        scheduler: Scheduler = None,
        guidance_stop: float | None = None,
        **options: Any,
    ) -> torch.Tensor:
        """`reverse_process`, by default with the pipeline's own scheduler and guidance stop.

        Args:
            class_labels, generators, num_inference_steps, guidance_scale: As there.
            scheduler: As there; None takes the pipeline's own.
            guidance_stop: As there, in [0, 1]; None takes the pipeline's own.
            **options: `noisy_samples`, `start_timestep`, `known`, `on_state` and `on_step_end`, as there.

        Returns:
            (B, *space.shape) clean samples, which `space.decode` makes images.

        Raises:
            UserError: As `reverse_process`, or a share out of range.
        """
        stop: float = self.config["guidance_stop"] if guidance_stop is None else guidance_stop
        check_share("guidance_stop", stop)
        return reverse_process(
            self.denoiser,
            scheduler or self.scheduler,
            class_labels,
            generators,
            num_inference_steps,
            guidance_scale,
            stop,
            **options,
        )


def _output(decoded: torch.Tensor, output_type: str, return_dict: bool) -> ImagePipelineOutput | tuple[Any]:
    if output_type == "pil":
        images: Any = [to_pil(image) for image in to_uint8(images)]
    elif output_type == "np":
        images = ((images + 1) / 2).movedim(1, -1).cpu().numpy()
    else:
        images = (images + 1) / 2
    return ImagePipelineOutput(images=images) if return_dict else (images,)
