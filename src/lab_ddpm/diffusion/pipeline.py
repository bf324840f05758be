"""The pipeline, built like those of diffusers: it takes conditions and returns images.

A call with `seed=0` makes the images that the commands make with `--seed 0`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from diffusers import DiffusionPipeline, ImagePipelineOutput
from numpy.typing import NDArray

from lab_ddpm.data.conditions import Condition
from lab_ddpm.data.images import to_pil, to_uint8
from lab_ddpm.diffusion.denoiser import Denoiser
from lab_ddpm.diffusion.sampling import Sampling, check_sampling, image_seeds, sample, sampling_timesteps
from lab_ddpm.diffusion.schedulers import Scheduler, make_scheduler
from lab_ddpm.tools.errors import DataError, UserError, check_choice, check_whole, did_you_mean
from lab_ddpm.tools.shipped import find, pipelines

OUTPUT_TYPES = ("pil", "np", "pt")


class LabelConditionalPipeline(DiffusionPipeline):
    """Samples images for conditions.

        pipe = LabelConditionalPipeline.from_pretrained("pretrained/iclevr-cpu")
        pipe(["red cube, cyan sphere", "gray cylinder"], seed=0).images

    Args:
        denoiser: The trained model.
        scheduler: A name or a diffusers scheduler, see `schedulers.make_scheduler`. You can replace it
            (`pipe.scheduler = EulerDiscreteScheduler()`). Every scheduler runs on the denoiser's noise schedule.
        num_inference_steps, guidance_scale: The defaults of a call, see `sampling.Sampling`.
        fit: How the training images were brought to their size, as in `images.fit_image`.

    Attributes:
        checkpoint: The folder that it was loaded from, if `load_pipeline` loaded it.
    """

    checkpoint: Path | None = None

    def __init__(
        self,
        denoiser: Denoiser,
        scheduler: str | Scheduler,
        num_inference_steps: int = 50,
        guidance_scale: float = 1.0,
        fit: str = "squash",
    ) -> None:
        super().__init__()
        named = isinstance(scheduler, str)
        self.register_modules(denoiser=denoiser, scheduler=make_scheduler(scheduler, denoiser) if named else scheduler)
        self.register_to_config(num_inference_steps=num_inference_steps, guidance_scale=guidance_scale, fit=fit)

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str | Path, **options: Any) -> LabelConditionalPipeline:
        """As in diffusers. The pipeline in the package (`pretrained/iclevr-cpu`) is found from any folder.

        Raises:
            DataError: There is no such folder, and the Hub has no such pipeline either.
        """
        path = find(pretrained_model_name_or_path)
        try:
            return super().from_pretrained(str(path), **options)
        except (OSError, ValueError) as error:
            if path.exists():
                raise
            raise DataError(
                f"{did_you_mean(path, pipelines())}{path}: no such folder, and the Hub has no pipeline of this name"
            ) from error

    @property
    def sampling(self) -> Sampling:
        """How the pipeline samples by default."""
        return Sampling(self.scheduler, self.config["num_inference_steps"], self.config["guidance_scale"])

    def with_sampling(
        self,
        scheduler: str | Scheduler = None,
        steps: int | None = None,
        guidance_scale: float | None = None,
    ) -> LabelConditionalPipeline:
        """The same model with another way of sampling; None keeps this pipeline's value.

        Raises:
            UserError: A number out of range, or a sampling that does not fit the model.
        """
        asked = self._sampling(scheduler, steps, guidance_scale)
        check_sampling(self.denoiser, asked)  # refuse a misfit now, not in the middle of the work
        own = asked.scheduler, asked.steps, asked.guidance_scale
        other = LabelConditionalPipeline(self.denoiser, *own, self.config["fit"])
        other.checkpoint = self.checkpoint
        return other

    def _sampling(self, *given: Any) -> Sampling:
        """The pipeline's own sampling with those of its fields that are given."""
        fields = zip(("scheduler", "steps", "guidance_scale"), given, strict=True)
        return dataclasses.replace(self.sampling, **{name: value for name, value in fields if value is not None})

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
    ) -> ImagePipelineOutput | tuple[Any]:
        """Sample one image per condition.

        Args:
            conditions: A list with "red cube, cyan sphere" or ("red cube", "cyan sphere") for each image, or a
                (B, num_labels) tensor or array, or (B, K, num_labels) of composed conditions (`Denoiser.compose`).
                None samples `batch_size` images without a condition.
            num_inference_steps: Denoising steps. None takes the pipeline's own.
            guidance_scale: 1 means no guidance. None takes the pipeline's own.
            seed: The seed of all random numbers, see `image_seeds`.
            generator: Where the images' seeds come from, instead of `seed`: one generator for each image, or one for
                all. If neither is given, every call makes new images.
            batch_size: The number of images if there are no conditions; None means one.
            output_type: "pil"; "np" (B, H, W, C) or "pt" (B, C, H, W) float32 in [0, 1].
            return_dict: False returns a tuple with the images instead of an object with `.images`.
            callback_on_step_end: Called as f(pipeline, step, timestep, {"sample": x}) after each step. x are the
                (B, *space.shape) samples after the step. If it returns {"sample": ...}, this replaces them.

        Raises:
            UserError: A condition or a sampling that does not fit the model; both conditions and a batch size, or a
                seed and a generator.
        """
        check_choice("output_type", output_type, OUTPUT_TYPES)
        if conditions is None:
            batch_size = 1 if batch_size is None else batch_size
            check_whole("batch_size", batch_size, 1)
            class_labels = self.denoiser.null_labels(batch_size)
        elif batch_size is not None:
            raise UserError(f"`batch_size` must not be given with conditions, one per image, got {batch_size}")
        else:
            class_labels = self.denoiser.class_labels(conditions)
        seeds = _seeds(seed, generator, len(class_labels))
        sampling = self._sampling(None, num_inference_steps, guidance_scale)
        timesteps = sampling_timesteps(sampling, self.denoiser).tolist()
        with self.progress_bar(total=len(timesteps)) as bar:  # pyright: ignore[reportCallIssue]
            states = 0

            def step_end(_: int, samples: torch.Tensor) -> torch.Tensor | None:
                nonlocal states
                states += 1
                if states == 1:  # the noise that sampling starts from
                    return None
                bar.update()
                if callback_on_step_end is None:
                    return None
                step = states - 2
                return (callback_on_step_end(self, step, int(timesteps[step]), {"sample": samples}) or {}).get("sample")

            samples = sample(self.denoiser, class_labels, seeds, sampling, on_state=step_end)
        images = self.denoiser.space.decode(samples)
        outputs: Any = [to_pil(image) for image in to_uint8(images)] if output_type == "pil" else (images + 1) / 2
        if output_type == "np":
            outputs = outputs.movedim(1, -1).cpu().numpy()
        return ImagePipelineOutput(images=outputs) if return_dict else (outputs,)


def _seeds(seed: int | None, generator: torch.Generator | Sequence[torch.Generator] | None, count: int) -> list[int]:
    """The seeds of the images of a call."""
    if seed is not None and generator is not None:
        raise UserError("`seed` and `generator` must not be given both")
    if generator is None:
        seed = int(torch.randint(2**31, ())) if seed is None else seed
        check_whole("seed", seed, 0)
        return image_seeds(seed, count)
    sources = [generator] * count if isinstance(generator, torch.Generator) else generator
    if not isinstance(sources, Sequence) or not all(isinstance(source, torch.Generator) for source in sources):
        raise UserError(f"`generator` must be a torch.Generator or a list of them, got {generator!r}")
    return [int(torch.randint(2**32, (), generator=source, device=source.device)) for source in sources]
