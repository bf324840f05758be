"""Interpolation between two images, and between two conditions.

    x_t = q(x_0), x_t' = q(x_0')                    encode both images to noise level t
    x_0(lambda) ~ p(x_0 | mix(x_t, x_t', lambda))   mix, and decode with the reverse process

(DDPM, arXiv:2006.11239, section 4.3, figure 8.) `Noise` says which random numbers q and p use:

    "shared"    one noise for both images, and the same random numbers for every lambda, as in the paper
    "own"       one noise for each image, and the same random numbers for every lambda
    "fresh"     one noise for each image, and other random numbers for each lambda
    "inverted"  no noise: the deterministic sampler is run backwards (DDIM, arXiv:2010.02502, section 4.3); only for
                "ddim"
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch

from lab_ddpm.data.conditions import Condition
from lab_ddpm.diffusion.denoiser import Denoiser
from lab_ddpm.diffusion.noise import from_clean
from lab_ddpm.diffusion.pipeline import LabelConditionalPipeline
from lab_ddpm.diffusion.sampling import Start, check_labels, image_seeds, sample, sampling_timesteps
from lab_ddpm.diffusion.schedulers import scheduler_name
from lab_ddpm.generation.generate import denoising_bar
from lab_ddpm.generation.reading import read_images
from lab_ddpm.tools.errors import UserError, check_at_least, check_choice

Mixing = Literal["linear", "spherical"]
Noise = Literal["shared", "own", "fresh", "inverted"]


@dataclass(frozen=True)
class Interpolation:
    """The images between two ends.

    Attributes:
        lambdas: (L,) from 0 to 1.
        images: (L, C, H, W) in [-1, 1].
        timestep: The noise level that they were decoded from; a fraction for "euler".
    """

    lambdas: torch.Tensor
    images: torch.Tensor
    timestep: float

    def distances(self) -> torch.Tensor:
        """(L - 1,) `distance` of neighbouring images."""
        return distance(self.images[1:], self.images[:-1])


def distance(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """(B,) root mean square differences of two batches (B, C, H, W) in [-1, 1]; black and white differ by 1."""
    return ((first - second) / 2).square().mean(dim=(1, 2, 3)).sqrt()


def interpolate_images(
    pipeline: LabelConditionalPipeline, clean_images: torch.Tensor, progress: str | None = None, **settings: Any
) -> Interpolation:
    """Interpolate between two images, without a condition.

    Args:
        pipeline: Only its steps below t are used.
        clean_images: (2, C, H, W) in [-1, 1].
        progress: Title of a progress bar over the denoising steps; None for no bar.
        **settings: Those of `mix_images`, which raises the errors.
    """
    denoiser, sampling = pipeline.denoiser, pipeline.sampling
    lambdas, start, seeds = mix_images(pipeline, clean_images, **settings)
    class_labels = denoiser.class_labels([()] * len(lambdas))
    check_labels(denoiser, class_labels, seeds)  # before the bar
    with denoising_bar(len(sampling_timesteps(sampling, denoiser, start)), progress) as advance:
        samples = sample(denoiser, class_labels, seeds, sampling, start=start, on_state=advance)
    return Interpolation(lambdas, denoiser.space.decode(samples).cpu(), start.timestep)


def mix_images(
    pipeline: LabelConditionalPipeline,
    clean_images: torch.Tensor,
    timestep: int | None = None,
    count: int = 10,
    mixing: Mixing = "linear",
    noise: Noise = "shared",
    seed: int = 0,
) -> tuple[torch.Tensor, Start, list[int]]:
    """Encode two images to a noise level and mix them.

    Args:
        pipeline: "inverted" needs the sampler "ddim".
        clean_images: (2, C, H, W) in [-1, 1].
        timestep: t, the noise level; None means T / 2. The sampler's next timestep at or below t is used.
        count: Number of images, including the reconstructions of both ends.
        mixing: "linear" (1 - lambda) x + lambda x', or "spherical" (Shoemake, "Animating rotation with quaternion
            curves", 1985), which keeps the length of the mixture.
        noise: Which random numbers are used, see above.
        seed: The seed of all random numbers.

    Returns:
        The (count,) lambdas, the (count, *space.shape) noisy mixtures with their timestep, and the seeds with which to
        denoise them.

    Raises:
        UserError: Not two images, a number out of range, an unknown choice, or choices that cannot be combined.
    """
    check_choice("mixing", mixing, get_args(Mixing))
    check_choice("noise", noise, get_args(Noise))
    check_at_least("count", count, 2)
    if len(clean_images) != 2:
        raise UserError(f"`clean_images` must be two, got {len(clean_images)}")
    denoiser, sampling = pipeline.denoiser, pipeline.sampling
    if noise == "inverted" and scheduler_name(sampling.scheduler, denoiser) != "ddim":
        raise UserError("`scheduler` must be 'ddim' for `noise` 'inverted', which runs its steps backwards")
    timesteps = sampling_timesteps(sampling, denoiser)
    wanted: int = denoiser.config["num_train_timesteps"] // 2 if timestep is None else timestep
    if not timesteps[-1] <= wanted <= timesteps[0]:
        raise UserError(
            f"`timestep` must be in [{timesteps[-1]:g}, {timesteps[0]:g}] for {len(timesteps)} steps, got {wanted}"
        )
    start = timesteps[timesteps <= wanted][0]
    clean_images = clean_images.to(denoiser.device)
    if denoiser.space.has_layout:
        clean = read_images(denoiser, clean_images, denoiser.class_labels([(), ()]))
    else:
        clean = denoiser.space.encode(clean_images)
    # hashed, so that interpolations with neighbouring seeds share no noise
    encoding_seed, shared_seed, *fresh_seeds = image_seeds(seed, 2 + count)
    if noise == "inverted":
        noisy = invert(pipeline, clean, int(start))
    else:
        generator = torch.Generator().manual_seed(encoding_seed)
        drawn = denoiser.space.draw_noise([generator] * (1 if noise == "shared" else 2)).to(clean)
        noisy = _add_noise(denoiser, clean, drawn, start)
    lambdas = torch.linspace(0, 1, count)
    mixed = torch.stack([mix(noisy[0], noisy[1], float(value), mixing) for value in lambdas])
    return lambdas, Start(mixed, start.item()), fresh_seeds if noise == "fresh" else [shared_seed] * count


def interpolate_conditions(
    pipeline: LabelConditionalPipeline,
    conditions: Sequence[Condition],
    count: int = 10,
    seed: int = 0,
    progress: str | None = None,
) -> Interpolation:
    """Interpolate between two conditions, with the same noise. The labels are mixed linearly.

    Args:
        pipeline: The pipeline of a conditional model.
        conditions: The two.
        count: Number of images, including both ends.
        seed: The seed of all random numbers. The ends are the first images that `generate` makes with this seed.
        progress: Title of a progress bar over the denoising steps; None for no bar.

    Raises:
        UserError: Not two conditions, one that does not fit the model, or a `count` below 2.
    """
    check_at_least("count", count, 2)
    if len(conditions) != 2:
        raise UserError(f"`conditions` must be two, got {len(conditions)}")
    denoiser, sampling = pipeline.denoiser, pipeline.sampling
    first, second = denoiser.class_labels(conditions)
    lambdas = torch.linspace(0, 1, count)
    weights = lambdas[:, None].to(first)
    class_labels = (1 - weights) * first + weights * second
    timesteps = sampling_timesteps(sampling, denoiser)
    with denoising_bar(len(timesteps), progress) as advance:
        samples = sample(denoiser, class_labels, image_seeds(seed, 1) * count, sampling, on_state=advance)
    return Interpolation(lambdas, denoiser.space.decode(samples).cpu(), timesteps[0].item())


def invert(pipeline: LabelConditionalPipeline, clean: torch.Tensor, timestep: int) -> torch.Tensor:
    """Run the deterministic sampler backwards, without a condition: DDIM (arXiv:2010.02502), eq. 13, with t rising.

    Args:
        pipeline: A pipeline with the sampler "ddim".
        clean: (B, *space.shape) clean samples, from `SampleSpace.encode`.
        timestep: Where to stop; one of the sampler's timesteps.

    Returns:
        (B, *space.shape): the noisy samples from which the sampler leads back to `clean`, with an error that depends
        on its step size.
    """
    denoiser = pipeline.denoiser
    timesteps = sampling_timesteps(pipeline.sampling, denoiser).flip(0)
    timesteps = timesteps[timesteps <= timestep]
    clusters, count = denoiser.clusters, len(clean)
    null_labels = denoiser.class_labels([()] * count) if clusters is None else clusters.none(count)
    # A clean sample has no timestep. The sampler's last step starts at the first timestep: its noise leads back there.
    noisy, now = clean, timesteps[0]
    for following in timesteps:
        predicted = denoiser.predict_clean(noisy, now, null_labels)
        noise = from_clean(predicted, noisy, denoiser.alpha_bar(now), "epsilon")
        noisy = _add_noise(denoiser, clean if following == now else predicted, noise, following)
        now = following
    return noisy


def mix(first: torch.Tensor, second: torch.Tensor, weight: float, mixing: Mixing) -> torch.Tensor:
    """The point at `weight` between two tensors of the same shape: 0 gives the first, 1 the second."""
    cosine = torch.nn.functional.cosine_similarity(first.flatten(), second.flatten(), dim=0).clamp(-1, 1)
    angle = torch.arccos(cosine)
    if mixing == "linear" or angle < 1e-4:
        return (1 - weight) * first + weight * second
    return (torch.sin((1 - weight) * angle) * first + torch.sin(weight * angle) * second) / torch.sin(angle)


def _add_noise(denoiser: Denoiser, clean: torch.Tensor, noise: torch.Tensor, timestep: torch.Tensor) -> torch.Tensor:
    """x_t = sqrt(abar) x_0 + sqrt(1 - abar) eps. Unlike diffusers' `add_noise`, it takes fractions of timesteps."""
    alpha_bar = denoiser.alpha_bar(timestep)
    return alpha_bar.sqrt() * clean + (1 - alpha_bar).sqrt() * noise
