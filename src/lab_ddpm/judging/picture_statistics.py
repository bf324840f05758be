"""Plain numbers about a set of pictures: are samples too bright, too pale, too smooth, and do they weave?

brightness   mean of all values, 0 (black) to 1 (white)
contrast     standard deviation of all values of a picture, averaged over the pictures
saturation   largest minus smallest channel of a pixel, averaged; 0 for grey pictures
sharpness    mean absolute Laplacian (each pixel against the mean of its four neighbours)
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lab_ddpm.data.images import Pictures


def picture_statistics(pictures: Pictures) -> dict[str, float]:
    """The four numbers for (N, H, W, C) uint8 pictures."""
    values = pictures.astype(np.float32) / 255
    return {
        "brightness": float(values.mean()),
        "contrast": float(values.std(axis=(1, 2, 3)).mean()),
        "saturation": float((values.max(axis=-1) - values.min(axis=-1)).mean()),
        "sharpness": float(_laplacian(values).mean()),
    }


def sharpness_within(pictures: Pictures, areas: NDArray[np.bool_]) -> float:
    """The sharpness in a part of each picture; nan where all parts are empty.

    Args:
        pictures: (N, H, W, C) uint8.
        areas: (N, h, w), h a divisor of H and w of W: which blocks of H / h x W / w pixels count.
    """
    height, width = (size // of for size, of in zip(pictures.shape[1:3], areas.shape[1:], strict=True))
    within = areas.repeat(height, axis=1).repeat(width, axis=2)[:, 1:-1, 1:-1]
    return float(_laplacian(pictures.astype(np.float32) / 255)[within].mean()) if within.any() else float("nan")


def _laplacian(values: NDArray[np.floating]) -> NDArray[np.floating]:
    """Absolute values, without the outermost pixels: (N, H - 2, W - 2, C)."""
    neighbours = values[:, :-2, 1:-1] + values[:, 2:, 1:-1] + values[:, 1:-1, :-2] + values[:, 1:-1, 2:]
    return np.abs(values[:, 1:-1, 1:-1] - neighbours / 4)


def patch_energy(pictures: Pictures, patch_size: int) -> float:
    """The share of the energy of pictures that repeats itself with the patches: a weave, where real ones have less.

    Of the discrete Fourier transform of every channel, all but its mean: what is at multiples of one cycle per patch,
    along both axes.

    Args:
        pictures: (N, H, W, C) uint8, H and W divisible by `patch_size`.
        patch_size: Height and width of the patches, more than 1.
    """
    height, width = pictures.shape[1:3]
    energy = np.abs(np.fft.fft2(pictures.astype(np.float32), axes=(1, 2))) ** 2
    energy[:, 0, 0] = 0
    return float(energy[:, :: height // patch_size, :: width // patch_size].sum() / energy.sum())
