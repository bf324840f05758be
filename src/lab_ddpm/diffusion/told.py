"""What the network is told of each position: where the objects stand.

    prediction = unet([x_t, place_map], t, c)

A place map has `Denoiser.told_channels` channels without noise, and zeros where nothing is told. More channels, such as
depth, are joined to it in the two functions below.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from lab_ddpm.data.batches import Batch
from lab_ddpm.diffusion.denoiser import Denoiser
from lab_ddpm.diffusion.places import Places, place_map
from lab_ddpm.tools.errors import UserError

_JITTER = 1 / 128  # of a told place, as a share of the image's width: half a cell of the placer's grid


def told_in_training(
    denoiser: Denoiser, batch: Batch, places: Places | None, uniforms: torch.Tensor
) -> torch.Tensor | None:
    """The (B, told_channels, H / p, W / p) place maps of a batch; None for a model without a layout.

    Args:
        denoiser: The model.
        batch: B training samples.
        places: Where their objects stand; they are told up to half a cell of the placer's grid beside it.
        uniforms: (B,) in [0, 1), which decide who is told nothing.
    """
    if places is None:
        return None
    space, (count, most) = denoiser.space, places.labels.shape
    jitter = 2 * batch["place_uniforms"][:, space.num_labels + 1 :][:, : 2 * most].reshape(count, most, 2) - 1
    moved = Places(places.labels, places.centers + _JITTER * space.sample_size[1] * jitter)
    is_told = uniforms >= denoiser.config["places_dropout"]
    return is_told[:, None, None, None] * place_map(moved, space)


def told_when_sampling(
    denoiser: Denoiser, class_labels: torch.Tensor, seeds: Sequence[int], places: Places | None, is_started: bool
) -> torch.Tensor | None:
    """The (B, told_channels, H / p, W / p) place maps of samples that are drawn; None for a model without a layout.

    Args:
        denoiser, class_labels, seeds, places: See `sampling.sample`.
        is_started: Whether the samples are there already, with their objects.

    Raises:
        UserError: Places for a model without a layout, or samples without any for a model that always had some.
    """
    if denoiser.placer is None:
        if places is not None:
            raise UserError("only a model with a layout can be told where the objects stand")
        return None
    if places is not None:
        return place_map(places, denoiser.space).to(denoiser.device)
    wanted = class_labels if class_labels.ndim == 2 else class_labels.amax(dim=1).clamp(min=0)
    if is_started:
        wanted = torch.zeros_like(wanted)
    is_told = wanted.any(dim=1) & ((wanted == 0) | (wanted == 1)).all(dim=1)
    if not (is_told.all() or denoiser.config["places_dropout"]):
        raise UserError("a model without `places_dropout` needs noise and a condition, and no mixture, for each image")
    return is_told[:, None, None, None] * place_map(denoiser.placer.draw(wanted, seeds), denoiser.space)
