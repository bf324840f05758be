"""Reading: a model with a layout says which object stands where in given images.

An image with an unknown layout is scaled as at t = T / 10, gets no noise, and goes through the network once.
"""

from __future__ import annotations

import torch

from lab_ddpm.diffusion.denoiser import Denoiser
from lab_ddpm.tools.errors import UserError

_BATCH_SIZE = 64


def check_reads(denoiser: Denoiser) -> None:
    """Raise `UserError` if the model has no layout, or was trained without `layout_dropout`."""
    if not (denoiser.space.has_layout and denoiser.config["layout_dropout"]):
        raise UserError(
            "only a model that was trained with `layout_scale` and `layout_dropout` reads images; "
            "use another, such as `--checkpoint pretrained/iclevr-cpu`"
        )


@torch.no_grad()
def read_images(denoiser: Denoiser, images: torch.Tensor, class_labels: torch.Tensor) -> torch.Tensor:
    """The clean samples of images, with the layout that the network sees in them.

    Args:
        denoiser: The model, on the device to compute on.
        images: (B, C, H, W) in [-1, 1].
        class_labels: (B, num_labels) labels of what they show; zeros if this is unknown.

    Returns:
        (B, *space.shape) float32; `space.masks` says which object stands where.

    Raises:
        UserError: The model does not read images.
    """
    check_reads(denoiser)
    timestep = torch.tensor(denoiser.config["num_train_timesteps"] // 10)
    signal = denoiser.alpha_bar(timestep).sqrt()
    samples = []
    for part, labels in zip(images.split(_BATCH_SIZE), class_labels.split(_BATCH_SIZE), strict=True):
        part = part.to(denoiser.device)
        seen = denoiser.predict_clean(signal * denoiser.space.encode(part), timestep, labels.to(denoiser.device))
        samples.append(denoiser.space.encode(part, denoiser.space.layout(seen)))
    return torch.cat(samples)
