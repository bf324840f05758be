"""Perturbations of images: changes that must not confuse a classifier. Training and measuring use them.

A classifier that is trained on renders must also read images by diffusion models and by other renderers. Those differ
in light (lamps, tone, tint), in sharpness (blur, another resize filter) and in noise. Changes of colour must stay well
below the distance between two object colours, such as red and brown or blue and purple.

Every perturbation maps images (B, C, H, W) in [0, 1] to the same shape; values may leave the range, and `perturb` clips
them. It draws one change per image, uniformly up to `strength`. torchvision's transforms cannot be used: they draw one
change per batch, from the global generator.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F

from lab_ddpm.data.images import Images, to_tensor

Perturbation = Callable[[torch.Tensor, float, torch.Generator], torch.Tensor]


def perturb(images: Images, changes: Mapping[str, tuple[float, float]], generator: torch.Generator) -> torch.Tensor:
    """Apply each named perturbation to a random share of the images, independently of the others.

    Args:
        images: (B, H, W, C) uint8.
        changes: {name in `PERTURBATIONS`: (share of the images in [0, 1], strength)}.
        generator: A generator on the CPU. The same state gives the same result.

    Returns:
        (B, C, H, W) float32 in [-1, 1].
    """
    pixels = (to_tensor(images) + 1) / 2
    for name, (share, strength) in changes.items():
        chosen = torch.rand(len(pixels), generator=generator) < share
        if chosen.any():
            pixels[chosen] = PERTURBATIONS[name](pixels[chosen], strength, generator)
    return pixels.clamp(0, 1) * 2 - 1


def _uniform(images: torch.Tensor, strength: float, generator: torch.Generator, channels: int = 1) -> torch.Tensor:
    """Uniform random numbers (B, channels, 1, 1) in [-strength, strength]."""
    return strength * (2 * torch.rand(len(images), channels, 1, 1, generator=generator) - 1)


def brightness(images: torch.Tensor, strength: float, generator: torch.Generator) -> torch.Tensor:
    """Multiply by exp(u)."""
    return images * _uniform(images, strength, generator).exp()


def contrast(images: torch.Tensor, strength: float, generator: torch.Generator) -> torch.Tensor:
    """Scale the distance to the mean of the image by exp(u)."""
    mean = images.mean(dim=(1, 2, 3), keepdim=True)
    return mean + (images - mean) * _uniform(images, strength, generator).exp()


def saturation(images: torch.Tensor, strength: float, generator: torch.Generator) -> torch.Tensor:
    """Scale the distance of every pixel to its own grey by exp(u)."""
    gray = images.mean(dim=1, keepdim=True)
    return gray + (images - gray) * _uniform(images, strength, generator).exp()


def tint(images: torch.Tensor, strength: float, generator: torch.Generator) -> torch.Tensor:
    """Multiply every channel by its own exp(u)."""
    return images * _uniform(images, strength, generator, channels=3).exp()


def lamp(images: torch.Tensor, strength: float, generator: torch.Generator) -> torch.Tensor:
    """Multiply by exp(u x + v y), with x and y from -1 to 1 across the image: light from another side."""
    y = torch.linspace(-1, 1, images.shape[-2])[:, None]
    x = torch.linspace(-1, 1, images.shape[-1])
    slopes = _uniform(images, strength, generator, channels=2)
    return images * (slopes[:, :1] * x + slopes[:, 1:] * y).exp()


def blur(images: torch.Tensor, strength: float, generator: torch.Generator) -> torch.Tensor:
    """Gaussian blur with a sigma of up to `strength` pixels."""
    radius = max(1, round(3 * strength))
    sigma = _uniform(images, strength, generator).abs().flatten(1) + 1e-3
    kernel = torch.exp(-((torch.arange(-radius, radius + 1) / sigma) ** 2) / 2)
    kernel = (kernel / kernel.sum(dim=1, keepdim=True)).repeat_interleave(images.shape[1], dim=0)
    kernel = kernel[:, None]  # (B C, 1, taps): the images of a batch are channels, each with its own kernel
    planes = F.pad(images, (radius,) * 4, mode="replicate").flatten(0, 1)[None]  # (1, B C, H', W')
    planes = F.conv2d(F.conv2d(planes, kernel[..., None], groups=len(kernel)), kernel[:, :, None], groups=len(kernel))
    return planes.reshape(images.shape)


def resize(images: torch.Tensor, strength: float, generator: torch.Generator) -> torch.Tensor:
    """Scale down by a factor of up to 1 - `strength` and up again, with one filter for the whole batch."""
    height, width = images.shape[-2:]
    scale = 1 - strength * float(torch.rand((), generator=generator))
    mode = ("bilinear", "bicubic")[int(torch.randint(2, (), generator=generator))]
    smaller = F.interpolate(images, (round(height * scale), round(width * scale)), mode=mode, antialias=True)
    return F.interpolate(smaller, (height, width), mode=mode)


def noise(images: torch.Tensor, strength: float, generator: torch.Generator) -> torch.Tensor:
    """Add white Gaussian noise with a standard deviation of up to `strength`."""
    return images + _uniform(images, strength, generator).abs() * torch.randn(images.shape, generator=generator)


def blotches(images: torch.Tensor, strength: float, generator: torch.Generator) -> torch.Tensor:
    """Add smooth noise with a grain of 4 pixels, as in images of a diffusion model after too little training."""
    count, channels, height, width = images.shape
    grain = torch.randn(count, channels, height // 4, width // 4, generator=generator)
    return images + _uniform(images, strength, generator).abs() * F.interpolate(grain, (height, width), mode="bilinear")


def shift(images: torch.Tensor, strength: float, generator: torch.Generator) -> torch.Tensor:
    """Move by up to `strength` whole pixels (which keeps edges sharp) along both axes; the border is repeated."""
    size = torch.tensor([images.shape[-1], images.shape[-2]])
    offsets = _uniform(images, strength, generator, channels=2).flatten(1).round()
    return _resample(images, torch.ones_like(offsets), offsets * 2 / size, mode="nearest")


def zoom(images: torch.Tensor, strength: float, generator: torch.Generator) -> torch.Tensor:
    """Scale width and height about the center, each by its own exp(u); the border is repeated."""
    factors = _uniform(images, strength, generator, channels=2).flatten(1).exp()
    return _resample(images, factors, torch.zeros_like(factors), mode="bicubic")


def _resample(images: torch.Tensor, factors: torch.Tensor, offsets: torch.Tensor, mode: str) -> torch.Tensor:
    """Read the images at (factors x position + offsets), (B, 2) each; an image spans -1 to 1."""
    grid = F.affine_grid(
        torch.cat([torch.diag_embed(factors), offsets[..., None]], dim=2), list(images.shape), align_corners=False
    )
    return F.grid_sample(images, grid, mode=mode, padding_mode="border", align_corners=False)


def flip(images: torch.Tensor, strength: float, generator: torch.Generator) -> torch.Tensor:
    """Mirror a share `strength` of the images, left to right (all three shapes are symmetric)."""
    chosen = torch.rand(len(images), 1, 1, 1, generator=generator) < strength
    return torch.where(chosen, images.flip(-1), images)


PERTURBATIONS: dict[str, Perturbation] = {
    function.__name__: function
    for function in (
        *(flip, zoom, shift, lamp, brightness, contrast, saturation, tint),  # the scene, then its light
        *(blur, resize, blotches, noise),  # then the effects of the camera or a model, grain last
    )
}
