"""Reading: what stands where in given images, as a model with a layout sees it.

An image with an unknown layout is scaled as at t = T / 10, but gets no noise, and goes through the network once.
"""

from __future__ import annotations

import torch

from lab_ddpm.diffusion.denoiser import Denoiser
from lab_ddpm.tools.errors import UserError

_AT_A_TIME = 64


def check_reads(denoiser: Denoiser) -> None:
    """Raise `UserError` if the model has no layout, or was trained without `layout_dropout`."""
    if not (denoiser.space.has_layout and denoiser.config["layout_dropout"]):
        raise UserError("only a model that was trained with `layout_scale` and `layout_dropout` reads images")


@torch.no_grad()
def read_images(denoiser: Denoiser, images: torch.Tensor, class_labels: torch.Tensor) -> torch.Tensor:
    """The clean samples of images, with the layout that the network sees in them when nothing else tells it.

    Args:
        denoiser: On the device to compute on.
        images: (B, C, H, W) in [-1, 1].
        class_labels: (B, num_labels) of what is in them; zeros where nobody knows.

    Returns:
        (B, *space.shape) float32; `space.masks` takes what stands where out of it.

    Raises:
        UserError: See `check_reads` and `Denoiser.check_guidance`.
    """
    check_reads(denoiser)
    denoiser.check_guidance(class_labels, None, 1.0)
    timestep = torch.tensor(denoiser.config["num_train_timesteps"] // 10, device=denoiser.device)
    signal = denoiser.alpha_bar(timestep).sqrt()
    samples = []
    for part, rows in zip(images.split(_AT_A_TIME), class_labels.split(_AT_A_TIME), strict=True):
        part = part.to(denoiser.device)
        noisy = signal * denoiser.space.encode(part)  # noise would only hide something
        seen = denoiser.predict_clean(noisy, timestep, rows.to(denoiser.device))
        samples.append(denoiser.space.encode(part, denoiser.space.layout(seen)))
    return torch.cat(samples)
