"""The layout: a small map of what stands where, denoised beside the image.

A label is written as the binary code of its place in the vocabulary, so L labels take ceil(log2 L) channels, and one
more says whether there is anything at all. Averaged over the patches of the image:

    code bits    -1 or +1 where something stands, 0 elsewhere
    presence     +1 where something stands, -1 elsewhere

Scaled up, the map is less noisy than the image at every timestep, so what stands where is decided before what it
looks like (compare ReDi, arXiv:2504.16064; semantic-first diffusion, arXiv:2512.04926).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F


def num_layout_channels(num_labels: int) -> int:
    """Channels of the layout of a vocabulary: its code bits, and presence."""
    return (num_labels - 1).bit_length() + 1


def label_codes(num_labels: int) -> torch.Tensor:
    """(num_labels, bits) of -1 and +1: the binary codes of the labels' places, lowest bit first."""
    bits = torch.arange(num_layout_channels(num_labels) - 1)
    return ((torch.arange(num_labels)[:, None] >> bits) & 1) * 2.0 - 1.0


def make_layout(masks: torch.Tensor, num_labels: int, patch_size: int) -> torch.Tensor:
    """Masks as layouts.

    Args:
        masks: (B, 1, H, W) of whole numbers: the label's place + 1 at every pixel, 0 where nothing stands.
        num_labels: Of the vocabulary.
        patch_size: Height and width of the patches.

    Returns:
        (B, num_layout_channels, H / patch_size, W / patch_size) float32 in [-1, 1].
    """
    nothing = torch.zeros(1, num_layout_channels(num_labels) - 1)
    codes = torch.cat([nothing, label_codes(num_labels)]).to(masks.device)
    presence = (masks > 0).float() * 2 - 1
    pixels = torch.cat([codes[masks[:, 0].long()].movedim(-1, 1), presence], dim=1)
    return F.avg_pool2d(pixels, patch_size)


def labels_in(masks: torch.Tensor, num_labels: int) -> torch.Tensor:
    """Which labels (B, 1, h, w) masks show anywhere: (B, num_labels) bool."""
    return torch.stack([(masks == place + 1).flatten(1).any(dim=1) for place in range(num_labels)], dim=1)


def read_layout(layout: torch.Tensor, num_labels: int) -> torch.Tensor:
    """The masks in layouts: (B, num_layout_channels, h, w) -> (B, 1, h, w) long, as in `make_layout`.

    Something stands where presence is positive, and it is the label whose code is closest.
    """
    code, presence = layout[:, :-1], layout[:, -1:]
    likeness = torch.einsum("bchw,lc->blhw", code.float(), label_codes(num_labels).to(code.device))
    return (likeness.argmax(dim=1, keepdim=True) + 1) * (presence > 0)
