"""From labels to pictures: the reverse process of a label-conditional diffusion model.

    x_T ~ N(0, I);   x_{t-1} = scheduler.step(prediction(x_t, t, c), t, x_t)
    prediction = uncond + s * (cond - uncond)       (classifier-free guidance, arXiv:2207.12598, eq. 6 with s = 1 + w)

so that s = 1 is the unguided model; "uncond" is the prediction for the null label, the zero vector. Where the
scheduler's `clip_sample` is set, the clean picture that a prediction implies is clipped to [-1, 1] before every step,
for every sampler: at the noisiest step of squaredcos_cap_v2 the signal is 5e-5 of the picture, and an error of the
predicted noise is divided by it.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence

import torch
from diffusers import DiffusionPipeline
from diffusers.utils.torch_utils import randn_tensor

from lab_ddpm.errors import UserError
from lab_ddpm.predictions import from_clean, to_clean
from lab_ddpm.schedulers import Scheduler, sampling_timesteps
from lab_ddpm.unet import LabelConditionalUNet


class LabelConditionalPipeline(DiffusionPipeline):
    """Samples pictures for multi-hot labels.

    Args:
        unet: The trained network.
        scheduler: A scheduler of `schedulers.make_scheduler`, or the training scheduler itself.
        guidance_scale: The guidance that the model was chosen with; used where a call names none.
        condition_dropout: Share of the training samples whose labels were replaced by the null label. Without any, a
            conditional model has never seen that label, and is neither guided nor sampled under it.
        fit: How its training pictures became square, as in `images.fit_picture`.
    """

    def __init__(
        self,
        unet: LabelConditionalUNet,
        scheduler: Scheduler,
        guidance_scale: float = 1.0,
        condition_dropout: float = 0.0,
        fit: str = "squash",
    ) -> None:
        super().__init__()
        self.register_modules(unet=unet, scheduler=scheduler)
        self.register_to_config(guidance_scale=guidance_scale, condition_dropout=condition_dropout, fit=fit)

    @torch.no_grad()
    def __call__(
        self,
        class_labels: torch.Tensor,
        num_inference_steps: int = 50,
        guidance_scale: float | None = None,
        generator: torch.Generator | Sequence[torch.Generator] | None = None,
        callback: Callable[[int, torch.Tensor], None] | None = None,
        noisy_images: torch.Tensor | None = None,
        start_timestep: int | None = None,
    ) -> torch.Tensor:
        """Sample one picture for each row of labels, from pure noise or from noisy pictures.

        Args:
            class_labels: (B, num_labels) multi-hot; (B, 0) for an unconditional model.
            num_inference_steps: Denoising steps.
            guidance_scale: s above; 1 is unguided. None takes the pipeline's own.
            generator: One CPU generator per picture, so that no picture depends on the batch it is in; or one for all.
            callback: Called with (timestep, (B, C, H, W) noisy pictures) before each step, and with
                (-1, the finished pictures) at the end.
            noisy_images: (B, C, H, W) pictures at the noise level of `start_timestep` to go on from, in place of pure
                noise.
            start_timestep: The first of the scheduler's timesteps that is at most this one is where it starts.

        Returns:
            (B, C, H, W) pictures in [-1, 1].

        Raises:
            UserError: The labels do not fit the model, an unconditional model is to be guided, one trained without
                condition dropout is to be guided or sampled under the null label, or a sampler that scales its
                pictures is to start in the middle.
        """
        config = self.unet.config
        guidance_scale = float(self.config["guidance_scale"] if guidance_scale is None else guidance_scale)
        if class_labels.ndim != 2 or class_labels.shape[1] != len(config["labels"]):
            raise UserError(
                f"`class_labels` must be (B, {len(config['labels'])}) for this model, got {tuple(class_labels.shape)}"
            )
        if guidance_scale != 1.0 and not config["labels"]:
            raise UserError(f"`guidance_scale` must be 1 for an unconditional model, got {guidance_scale}")
        if config["labels"] and not self.config["condition_dropout"]:
            if guidance_scale != 1.0:
                raise UserError(
                    f"`guidance_scale` must be 1 for a model trained without condition dropout, got {guidance_scale}"
                )
            if not class_labels.any(dim=1).all():
                raise UserError("a model trained without condition dropout knows no null label to sample under")
        size = config["sample_size"]
        shape = (len(class_labels), config["in_channels"], size, size)
        device = self.unet.device
        class_labels = class_labels.to(device)
        generators = [generator] * len(class_labels) if isinstance(generator, torch.Generator) else generator
        generators = list(generators) if generators is not None else None

        timesteps = sampling_timesteps(self.scheduler, num_inference_steps, device)
        step_options = {}
        if "generator" in inspect.signature(self.scheduler.step).parameters:
            step_options["generator"] = generators
        if noisy_images is None or start_timestep is None:
            images = randn_tensor(shape, generator=generators, device=device) * self.scheduler.init_noise_sigma
        else:
            if self.scheduler.init_noise_sigma != 1:
                raise UserError("`scheduler` must be ddpm, ddim, dpmpp or unipc to start from noisy pictures")
            images, timesteps = noisy_images.to(device), timesteps[timesteps <= start_timestep]
        for timestep in timesteps:
            model_input = self.scheduler.scale_model_input(images, timestep)
            if callback is not None:
                callback(int(timestep), model_input)
            prediction = self.predict(model_input, timestep, class_labels, guidance_scale)
            images = self.scheduler.step(prediction, timestep, images, **step_options).prev_sample
        images = images.clamp(-1, 1)
        if callback is not None:
            callback(-1, images)
        return images

    @torch.no_grad()
    def predict(
        self,
        noisy_images: torch.Tensor,
        timestep: torch.Tensor,
        class_labels: torch.Tensor,
        guidance_scale: float,
    ) -> torch.Tensor:
        """The guided prediction, of the type that the network was trained for, with its clean picture clipped.

        Args:
            noisy_images: (B, C, H, W).
            timestep: Scalar.
            class_labels: (B, num_labels).
            guidance_scale: 1 is unguided.
        """
        if guidance_scale == 1.0:
            prediction = self.unet(noisy_images, timestep, class_labels)
        else:
            labels = torch.cat([torch.zeros_like(class_labels), class_labels])
            uncond, cond = self.unet(torch.cat([noisy_images, noisy_images]), timestep, labels).chunk(2)
            prediction = uncond + guidance_scale * (cond - uncond)
        if not self.scheduler.config["clip_sample"]:
            return prediction
        alpha_bar = self.scheduler.alphas_cumprod[int(timestep)].to(prediction.device)
        prediction_type = self.scheduler.config["prediction_type"]
        clean_images = to_clean(prediction, noisy_images, alpha_bar, prediction_type).clamp(-1, 1)
        return from_clean(clean_images, noisy_images, alpha_bar, prediction_type)
