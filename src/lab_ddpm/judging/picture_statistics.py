"""Four plain numbers about a set of pictures, for the question whether samples are too bright, too pale or too smooth.

brightness   mean of all values, 0 (black) to 1 (white)
contrast     standard deviation of all values of a picture, averaged over the pictures
saturation   largest minus smallest channel of a pixel, averaged; 0 for grey pictures
sharpness    mean absolute Laplacian (each pixel against the mean of its four neighbours)
"""

from __future__ import annotations

import numpy as np

from lab_ddpm.data.images import Pictures


def picture_statistics(pictures: Pictures) -> dict[str, float]:
    """The four numbers for (N, H, W, C) uint8 pictures."""
    values = pictures.astype(np.float32) / 255
    inner = values[:, 1:-1, 1:-1]
    neighbours = values[:, :-2, 1:-1] + values[:, 2:, 1:-1] + values[:, 1:-1, :-2] + values[:, 1:-1, 2:]
    return {
        "brightness": float(values.mean()),
        "contrast": float(values.std(axis=(1, 2, 3)).mean()),
        "saturation": float((values.max(axis=-1) - values.min(axis=-1)).mean()),
        "sharpness": float(np.abs(inner - neighbours / 4).mean()),
    }
