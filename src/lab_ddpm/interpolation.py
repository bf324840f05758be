"""Interpolation between two pictures, and between two conditions.

    x_t = q(x_0), x_t' = q(x_0')                    encode both pictures to noise level t
    x_0(lambda) ~ p(x_0 | mix(x_t, x_t', lambda))   mix, and decode with the reverse process

(DDPM, arXiv:2006.11239, section 4.3, figure 8.) What q and p draw is said by `Noise`:

    "shared"    one noise for both pictures, and the same random numbers for every lambda, as in the paper
    "own"       its own noise for each picture, and the same random numbers for every lambda
    "fresh"     its own noise for each picture, and its own random numbers for each lambda
    "inverted"  no noise at all: the deterministic sampler run backwards (DDIM, arXiv:2010.02502, section 4.3); only
                for "ddim"
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import torch

from lab_ddpm.errors import UserError, check_at_least, check_choice
from lab_ddpm.generation import denoising_bar, picture_seeds
from lab_ddpm.pipeline import LabelConditionalPipeline
from lab_ddpm.predictions import from_clean, to_clean
from lab_ddpm.schedulers import is_ddim, sampling_timesteps

Mixing = Literal["linear", "spherical"]
Noise = Literal["shared", "own", "fresh", "inverted"]


@dataclass(frozen=True)
class Walk:
    """The pictures between two ends.

    Attributes:
        lambdas: (L,) from 0 to 1.
        images: (L, C, H, W) in [-1, 1].
        timestep: The noise level from which they were decoded.
    """

    lambdas: torch.Tensor
    images: torch.Tensor
    timestep: int

    def distances(self) -> torch.Tensor:
        """(L - 1,) `distance` of neighbouring pictures."""
        return distance(self.images[1:], self.images[:-1])


def distance(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """(B,) root mean square differences of two batches (B, C, H, W) in [-1, 1], of a range of values of 1."""
    return ((first - second) / 2).square().mean(dim=(1, 2, 3)).sqrt()


def interpolate_pictures(
    pipeline: LabelConditionalPipeline,
    clean_images: torch.Tensor,
    class_labels: torch.Tensor,
    timestep: int = 500,
    num_inference_steps: int = 1000,
    count: int = 10,
    mixing: Mixing = "linear",
    noise: Noise = "shared",
    guidance_scale: float = 1.0,
    seed: int = 0,
    one_step: bool = False,
    progress: str | None = None,
) -> Walk:
    """Walk from one picture to another one.

    Args:
        pipeline: With "ddpm" or "ddim" in place, only the second for "inverted".
        clean_images: (2, C, H, W) in [-1, 1].
        class_labels: (2, num_labels) labels of the two pictures, mixed linearly; zeros to decode under the null label.
        timestep: t of the noise level; the sampler's nearest one that is not above it is taken.
        num_inference_steps: Of a whole reverse process; only those below t are made.
        count: Pictures on the way, the reconstructions of both ends among them.
        mixing: "linear" (1 - lambda) x + lambda x', or "spherical" (Shoemake, "Animating rotation with quaternion
            curves", 1985), which keeps the length of the mixture.
        noise: See above.
        guidance_scale: 1 is unguided.
        seed: Of all random numbers.
        one_step: Decode by the network's one prediction of the clean picture, E[x_0 | x_t], in place of the reverse
            process, which draws from p(x_0 | x_t).
        progress: Title of a progress bar over the denoising steps; None for no bar.

    Raises:
        UserError: A number out of range, an unknown choice, or choices that do not go together.
    """
    check_choice("mixing", mixing, get_args(Mixing))
    check_choice("noise", noise, get_args(Noise))
    check_at_least("count", count, 2)
    if noise == "inverted" and not is_ddim(pipeline.scheduler):
        raise UserError("`scheduler` must be 'ddim' for `noise` 'inverted', which runs its steps backwards")
    timesteps = sampling_timesteps(pipeline.scheduler, num_inference_steps, pipeline.unet.device)
    if not int(timesteps[-1]) <= timestep <= int(timesteps[0]):
        raise UserError(f"`timestep` must be in [{int(timesteps[-1])}, {int(timesteps[0])}], got {timestep}")
    start = timesteps[timesteps <= timestep][0]
    clean_images, class_labels = clean_images.to(pipeline.unet.device), class_labels.to(pipeline.unet.device)
    alpha_bar = pipeline.scheduler.alphas_cumprod[int(start)].to(clean_images)
    # hashed, so that walks of neighbouring seeds share none
    encoding_seed, shared_seed, *fresh_seeds = picture_seeds(seed, 2 + count)
    if noise == "inverted":
        noisy_images = invert(pipeline, clean_images, class_labels, int(start), num_inference_steps, guidance_scale)
    else:
        generator = torch.Generator().manual_seed(encoding_seed)
        shape = (1 if noise == "shared" else 2, *clean_images.shape[1:])
        drawn = torch.randn(shape, generator=generator).to(clean_images)
        noisy_images = alpha_bar.sqrt() * clean_images + (1 - alpha_bar).sqrt() * drawn
    lambdas = torch.linspace(0, 1, count)
    mixed = torch.stack([mix(noisy_images[0], noisy_images[1], float(value), mixing) for value in lambdas])
    mixed_labels = _mixed_labels(class_labels, lambdas)
    if one_step:
        prediction = pipeline.predict(mixed, start, mixed_labels, guidance_scale)
        images = to_clean(prediction, mixed, alpha_bar, pipeline.scheduler.config["prediction_type"])
    else:
        seeds = fresh_seeds if noise == "fresh" else [shared_seed] * count
        with denoising_bar(int((timesteps <= start).sum()), progress) as advance:
            images = pipeline(
                mixed_labels,
                num_inference_steps,
                guidance_scale,
                generator=[torch.Generator().manual_seed(decoding_seed) for decoding_seed in seeds],
                callback=advance,
                noisy_images=mixed,
                start_timestep=int(start),
            )
    return Walk(lambdas, images.cpu(), int(start))


def interpolate_conditions(
    pipeline: LabelConditionalPipeline,
    class_labels: torch.Tensor,
    num_inference_steps: int = 50,
    count: int = 10,
    guidance_scale: float | None = None,
    seed: int = 0,
    progress: str | None = None,
) -> Walk:
    """Walk from one condition to another one, from the same noise: the labels are mixed linearly.

    Args:
        pipeline: A conditional model, with any sampler in place.
        class_labels: (2, num_labels) multi-hot.
        num_inference_steps: Denoising steps.
        count: Pictures, both ends among them.
        guidance_scale: None takes the pipeline's own.
        seed: Of all random numbers; the ends are the first pictures that `generate` makes of it.
        progress: Title of a progress bar over the denoising steps; None for no bar.
    """
    check_at_least("count", count, 2)
    lambdas = torch.linspace(0, 1, count)
    generators = [torch.Generator().manual_seed(picture_seeds(seed, 1)[0]) for _ in range(count)]
    calls = len(sampling_timesteps(pipeline.scheduler, num_inference_steps))
    with denoising_bar(calls, progress) as advance:
        images = pipeline(
            _mixed_labels(class_labels, lambdas), num_inference_steps, guidance_scale, generators, callback=advance
        )
    return Walk(lambdas, images.cpu(), int(pipeline.scheduler.timesteps[0]))


def invert(
    pipeline: LabelConditionalPipeline,
    clean_images: torch.Tensor,
    class_labels: torch.Tensor,
    timestep: int,
    num_inference_steps: int,
    guidance_scale: float = 1.0,
) -> torch.Tensor:
    """Run the deterministic sampler backwards: DDIM (arXiv:2010.02502), eq. 13, in the direction of rising t.

    Args:
        pipeline: With "ddim" in place.
        clean_images: (B, C, H, W) in [-1, 1].
        class_labels: (B, num_labels).
        timestep: Where to stop; one of the sampler's.
        num_inference_steps: Of the whole process.
        guidance_scale: 1 is unguided.

    Returns:
        (B, C, H, W) the noisy pictures that the sampler leads back to `clean_images`, up to its step size.
    """
    scheduler = pipeline.scheduler
    timesteps = sampling_timesteps(scheduler, num_inference_steps, clean_images.device).flip(0)
    levels = scheduler.alphas_cumprod.to(clean_images)
    timesteps = timesteps[timesteps <= timestep]
    # A clean picture is at no timestep: the noise of the first one is what leads up to it, as the sampler ends with it.
    clean, now = clean_images, timesteps[0]
    images = clean
    for following in timesteps:
        prediction = pipeline.predict(images, now, class_labels, guidance_scale)
        predicted = to_clean(prediction, images, levels[now], scheduler.config["prediction_type"])
        noise = from_clean(predicted, images, levels[now], "epsilon")
        clean = clean_images if following == now else predicted
        images = levels[following].sqrt() * clean + (1 - levels[following]).sqrt() * noise
        now = following
    return images


def mix(first: torch.Tensor, second: torch.Tensor, weight: float, mixing: Mixing) -> torch.Tensor:
    """The point at `weight` between two tensors of one shape; 0 is the first, 1 the second."""
    if mixing == "linear":
        return (1 - weight) * first + weight * second
    cosine = torch.nn.functional.cosine_similarity(first.flatten(), second.flatten(), dim=0).clamp(-1, 1)
    angle = torch.arccos(cosine)
    if angle < 1e-4:
        return (1 - weight) * first + weight * second
    return (torch.sin((1 - weight) * angle) * first + torch.sin(weight * angle) * second) / torch.sin(angle)


def _mixed_labels(class_labels: torch.Tensor, lambdas: torch.Tensor) -> torch.Tensor:
    weights = lambdas.to(class_labels)[:, None]
    return (1 - weights) * class_labels[0] + weights * class_labels[1]
