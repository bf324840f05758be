"""The layout: a small map of which object stands where, denoised together with the image.

A label is written as the binary code of its index in the vocabulary, so L labels take ceil(log2 L) channels. One more
channel says whether there is an object at all. The channels are averaged over the patches of the image:

    code bits    -1 or +1 where an object stands, 0 elsewhere
    presence     +1 where an object stands, -1 elsewhere

The map is scaled up, so at every timestep it is less noisy than the image. So a model that gets no places decides first
where objects stand, then what they look like (compare ReDi, arXiv:2504.16064; semantic-first diffusion,
arXiv:2512.04926). The map is also how a model reads the objects of an image.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F


def num_layout_channels(num_labels: int) -> int:
    """The number of channels of a layout: the code bits of the vocabulary, and presence."""
    return (num_labels - 1).bit_length() + 1


def label_codes(num_labels: int, device: torch.device | None = None) -> torch.Tensor:
    """(num_labels, bits) of -1 and +1: the binary codes of the labels' indices, lowest bit first."""
    bits = torch.arange(num_layout_channels(num_labels) - 1, device=device)
    return ((torch.arange(num_labels, device=device)[:, None] >> bits) & 1) * 2.0 - 1.0


def make_layout(masks: torch.Tensor, num_labels: int, patch_size: int) -> torch.Tensor:
    """Turn masks into layouts.

    Args:
        masks: (B, 1, H, W) of whole numbers: the label's index + 1 at every pixel, 0 where there is no object.
        num_labels: The number of labels in the vocabulary.
        patch_size: Height and width of the patches, in pixels of the masks.

    Returns:
        (B, num_layout_channels, H / patch_size, W / patch_size) float32 in [-1, 1].
    """
    values = F.pad(label_codes(num_labels, masks.device), (0, 1, 1, 0))  # zeros first, for no object
    values[:, -1] = 1
    values[0, -1] = -1
    return F.avg_pool2d(values[masks[:, 0].long()].movedim(-1, 1), patch_size)


def labels_in(masks: torch.Tensor, num_labels: int) -> torch.Tensor:
    """Which labels occur anywhere in (B, 1, h, w) masks: (B, num_labels) bool."""
    return torch.stack([(masks == index + 1).flatten(1).any(dim=1) for index in range(num_labels)], dim=1)


def read_layout(layout: torch.Tensor, num_labels: int) -> torch.Tensor:
    """Turn layouts into masks: (B, num_layout_channels, h, w) -> (B, 1, h, w) long, as in `make_layout`.

    There is an object where presence is positive. Its label is the one with the closest code.
    """
    labels, shares = labels_and_shares(layout, num_labels)
    return labels * (shares > 0.5)


def labels_and_shares(layout: torch.Tensor, num_labels: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The closest labels, from 1, and the share of each patch that an object covers: two (B, 1, h, w)."""
    code, presence = layout[:, :-1], layout[:, -1:]
    likeness = torch.einsum("bchw,lc->blhw", code.float(), label_codes(num_labels, code.device))
    return likeness.argmax(dim=1, keepdim=True) + 1, ((presence.float() + 1) / 2).clamp(0, 1)
