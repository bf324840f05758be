"""Pictures: files, uint8 arrays, tensors in [-1, 1], and the two conversions between them.

A picture on disk or on its way to a figure is a uint8 array (H, W, C); a picture that a network sees is a float
tensor (C, H, W) with `x = uint8 / 127.5 - 1`. A picture of any size is read in one way only: decoded as RGB and
resized directly (squashed, not cropped or padded) with an antialiased bilinear filter. The official i-CLEVR
classifier expects exactly this, and scores drop by up to half under any other preprocessing.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from lab_ddpm.errors import DataError
from lab_ddpm.files import atomic_path

Pictures = NDArray[np.uint8]


def to_tensor(pictures: Pictures) -> torch.Tensor:
    """(..., H, W, C) uint8 -> (..., C, H, W) float32 in [-1, 1]."""
    return torch.from_numpy(np.moveaxis(pictures, -1, -3).astype(np.float32, order="C")) / 127.5 - 1.0


def to_uint8(images: torch.Tensor) -> Pictures:
    """(..., C, H, W) in [-1, 1] (values outside are clipped) -> (..., H, W, C) uint8; inverse of `to_tensor`."""
    rounded = ((images.detach().float().cpu().clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)
    return np.moveaxis(rounded.numpy(), -3, -1)


def read_picture(path: str | Path, size: int) -> Pictures:
    """Read a picture file as (size, size, 3) uint8, resized directly with antialiasing.

    Raises:
        DataError: The file is missing, truncated or not a picture.
    """
    try:
        with Image.open(path) as picture:
            return np.asarray(_as_rgb(picture).resize((size, size), Image.Resampling.BILINEAR))
    except FileNotFoundError:
        raise DataError(f"{path}: no such picture") from None
    except (UnidentifiedImageError, Image.DecompressionBombError, OSError, SyntaxError, ValueError) as error:
        raise DataError(f"{path}: broken picture ({error})") from None


def _as_rgb(picture: Image.Image) -> Image.Image:
    if picture.mode.startswith("I;16"):  # grey of 16 bits, which Pillow cuts off at 255
        picture = Image.fromarray((np.asarray(picture) >> 8).astype(np.uint8))
    elif "transparency" in picture.info:  # a palette with it, which Pillow converts with a warning
        picture = picture.convert("RGBA")
    return picture.convert("RGB")


def resize_pictures(pictures: Pictures, size: int) -> Pictures:
    """(N, H, W, 3) uint8 -> (N, size, size, 3), each resized as `read_picture` does it."""
    if pictures.shape[1:3] == (size, size):
        return pictures
    resized = [Image.fromarray(picture).resize((size, size), Image.Resampling.BILINEAR) for picture in pictures]
    return np.stack([np.asarray(picture) for picture in resized])


def write_png(path: str | Path, picture: Pictures) -> None:
    """Write a (H, W, C) uint8 picture as a PNG file, whole or not at all."""
    with atomic_path(path) as temporary:
        Image.fromarray(picture.squeeze(-1) if picture.shape[-1] == 1 else picture).save(temporary, format="PNG")


def write_gif(path: str | Path, frames: Sequence[Pictures], milliseconds: int = 80) -> None:
    """Write (H, W, 3) uint8 frames as an endless GIF; the last frame stays for two seconds."""
    first, *rest = [Image.fromarray(frame) for frame in frames]
    durations = [milliseconds] * (len(frames) - 1) + [2000]
    with atomic_path(path) as temporary:
        first.save(temporary, format="GIF", save_all=True, append_images=rest, duration=durations, loop=0)


def make_grid(pictures: Pictures, columns: int, padding: int = 2) -> Pictures:
    """Lay (N, H, W, C) pictures out row by row on white -> one (H', W', C) picture."""
    count, height, width, channels = pictures.shape
    rows = -(-count // columns)
    shape = (rows * (height + padding) + padding, columns * (width + padding) + padding, channels)
    grid = np.full(shape, 255, dtype=np.uint8)
    for position, picture in enumerate(pictures):
        top = padding + position // columns * (height + padding)
        left = padding + position % columns * (width + padding)
        grid[top : top + height, left : left + width] = picture
    return grid
