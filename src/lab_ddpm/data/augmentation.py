"""Changed copies of training images, for data sets that are so small that a model would learn them by heart.

Each change is applied to a share of the images: upside down, enlarged or reduced, rotated, moved. The network is
conditioned on the changes (Karras et al., arXiv:2206.00364, appendix F.2). When it draws, the condition is "no change".
So its own images are not upside down.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F

NUM_AUGMENT_LABELS = 6  # numbers that say what was changed; all are 0 for an image as it is
NUM_UNIFORMS = 8
_LARGEST_ZOOM = 0.4  # as a power of 2
_LARGEST_SHIFT = 0.25  # of a side


def augment(images: torch.Tensor, uniforms: torch.Tensor, share: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Change some of the images. Pixels from outside are filled by reflection.

    Args:
        images: (B, C, H, W) float32.
        uniforms: (B, NUM_UNIFORMS) in [0, 1).
        share: The share of the images to which each change is applied.

    Returns:
        (B, C, H, W) images, and (B, NUM_AUGMENT_LABELS) numbers that say what was changed.
    """
    flip, zoom, turn, shift = (uniforms[:, :4] < share).float().unbind(dim=1)
    amounts = 2 * uniforms[:, 4:] - 1
    zoom, turn = zoom * amounts[:, 0], turn * math.pi * amounts[:, 1]
    shift_x, shift_y = shift * amounts[:, 2], shift * amounts[:, 3]
    augment_labels = torch.stack([flip, zoom, turn.cos() - 1, turn.sin(), shift_x, shift_y], dim=1)
    # where each pixel of the new image comes from: [x, y, 1] -> [x, y], in [-1, 1] from side to side
    height, width = images.shape[2:]
    scale = 2 ** (-_LARGEST_ZOOM * zoom)
    cos, sin, upright = scale * turn.cos(), scale * turn.sin(), 1 - 2 * flip
    first = torch.stack([cos, sin * height / width, 2 * _LARGEST_SHIFT * shift_x], dim=1)
    second = torch.stack([-sin * width / height * upright, cos * upright, 2 * _LARGEST_SHIFT * shift_y], dim=1)
    grid = F.affine_grid(torch.stack([first, second], dim=1), list(images.shape), align_corners=False)
    changed = F.grid_sample(images, grid, padding_mode="reflection", align_corners=False)
    is_changed = augment_labels.any(dim=1)[:, None, None, None]
    return torch.where(is_changed, changed, images), augment_labels
