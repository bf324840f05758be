"""The pipeline, built like those of diffusers: it takes conditions and returns images.

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
from lab_ddpm.diffusion.sampling import Sampling, image_seeds, sample, sampling_timesteps
from lab_ddpm.diffusion.schedulers import Scheduler, make_scheduler
from lab_ddpm.tools.errors import UserError, check_choice, check_whole
from lab_ddpm.tools.shipped import find_shipped


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
        """As in diffusers. The pipeline in the package (`pretrained/iclevr-cpu`) is found from any folder."""
        return super().from_pretrained(str(find_shipped(pretrained_model_name_or_path)), **options)

    @property
    def sampling(self) -> Sampling:
        """How the pipeline samples by default."""
        return Sampling(self.scheduler, self.config["num_inference_steps"], self.config["guidance_scale"])

    def with_sampling(
        self,
        scheduler: str | Scheduler | None = None,
        steps: int | None = None,
        guidance_scale: float | None = None,
    ) -> LabelConditionalPipeline:
        """The same model with another way of sampling; None keeps this pipeline's value.

        Raises:
            UserError: A number out of range, or a sampling that does not fit the model.
        """
        sampling = self.sampling.updated(scheduler, steps, guidance_scale)
        sampling_timesteps(sampling, self.denoiser)  # refuse a misfit now, not in the middle of the work
        own = sampling.scheduler, sampling.steps, sampling.guidance_scale
        other = LabelConditionalPipeline(self.denoiser, *own, self.config["fit"])
        other.checkpoint = self.checkpoint
        return other

    @torch.no_grad()
    def __call__(
        self,
        conditions: Sequence[str | Condition] | torch.Tensor | NDArray[Any] | None = None,
        num_inference_steps: int | None = None,
        guidance_scale: float | None = None,
        seed: int | None = None,
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
            seed: The seed of all random numbers, see `image_seeds`. None makes new images at every call.
            batch_size: The number of images if there are no conditions; None means one.
            output_type: "pil"; "np" (B, H, W, C) or "pt" (B, C, H, W) float32 in [0, 1].
            return_dict: False returns a tuple with the images instead of an object with `.images`.
            callback_on_step_end: Called as f(pipeline, step, timestep, {"sample": x}) after each step. x are the
                (B, *space.shape) samples after the step. If it returns {"sample": ...}, this replaces them.

        Raises:
            UserError: A condition or a sampling that does not fit the model, or both conditions and a batch size.
        """
        check_choice("output_type", output_type, ("pil", "np", "pt"))
        if conditions is None:
            batch_size = 1 if batch_size is None else batch_size
            check_whole("batch_size", batch_size, 1)
            conditions = [()] * batch_size
        elif batch_size is not None:
            raise UserError(f"`batch_size` must not be given with conditions, one per image, got {batch_size}")
        class_labels = self.denoiser.class_labels(conditions)
        seed = int(torch.randint(2**31, ())) if seed is None else seed
        check_whole("seed", seed, 0)
        sampling = self.sampling.updated(None, num_inference_steps, guidance_scale)
        before: list[int] = []  # the timesteps of the network's calls

        def on_state(timestep: int, samples: torch.Tensor) -> torch.Tensor | None:
            changed = {}
            if before:
                bar.update()
                if callback_on_step_end is not None:
                    changed = callback_on_step_end(self, len(before) - 1, before[-1], {"sample": samples}) or {}
            before.append(timestep)
            return changed.get("sample")

        with self.progress_bar(total=len(sampling_timesteps(sampling, self.denoiser))) as bar:  # pyright: ignore
            samples = sample(
                self.denoiser, class_labels, image_seeds(seed, len(class_labels)), sampling, on_state=on_state
            )
        images = self.denoiser.space.decode(samples)
        outputs: Any = [to_pil(image) for image in to_uint8(images)] if output_type == "pil" else (images + 1) / 2
        if output_type == "np":
            outputs = outputs.movedim(1, -1).cpu().numpy()
        return ImagePipelineOutput(images=outputs) if return_dict else (outputs,)
