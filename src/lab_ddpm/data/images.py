"""Images as files, as uint8 arrays and as tensors in [-1, 1].

Files and figures are uint8 arrays (H, W, C). Networks see float tensors (C, H, W) with `x = uint8 / 127.5 - 1`. Images
of i-CLEVR are always read in the same way: as RGB, resized directly (not cropped or padded) with an antialiased
bilinear filter. The official classifier expects this; with other preprocessing scores drop by up to a half.
"""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, PngImagePlugin

from lab_ddpm.data.image_modes import UnclearRange, as_rgb, upright
from lab_ddpm.tools.errors import DataError, UserError
from lab_ddpm.tools.files import atomic_path

if TYPE_CHECKING:  # processes that only read and write files start without torch
    import torch

# Pillow warns about details of files that it reads anyway or is about to refuse.
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.TiffImagePlugin")
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)  # it refuses twice as many pixels
# Its limit of 1 MiB for one text or colour profile makes good files fail. All texts of a file may have this much.
PngImagePlugin.MAX_TEXT_CHUNK = PngImagePlugin.MAX_TEXT_MEMORY

Images = NDArray[np.uint8]
Size = int | Sequence[int]  # height and width in pixels; one number for both
MASK_SCALE = 2  # pixels of a mask on each side of a pixel of its image: outlines must be right to the pixel

COLOUR_MODES = {1: "grey", 3: "colour"}  # of images, by their channels


def mask_size(image_size: Size) -> tuple[int, int]:
    """Height and width of the masks of images, in pixels."""
    height, width = height_width(image_size)
    return MASK_SCALE * height, MASK_SCALE * width


def height_width(size: Size) -> tuple[int, int]:
    """The two numbers of a size."""
    height, width = (size, size) if isinstance(size, int) else size
    return height, width


def to_tensor(images: Images) -> torch.Tensor:
    """(..., H, W, C) uint8 -> (..., C, H, W) float32 in [-1, 1]."""
    import torch

    return torch.from_numpy(np.moveaxis(images, -1, -3).astype(np.float32, order="C")) / 127.5 - 1.0


def to_uint8(images: torch.Tensor) -> Images:
    """(..., C, H, W) in [-1, 1] (values outside are clipped) -> (..., H, W, C) uint8; inverse of `to_tensor`."""
    rounded = ((images.detach().float().cpu().clamp(-1, 1) + 1) * 127.5).round().byte()
    return np.moveaxis(rounded.numpy(), -3, -1)


def to_pil(image: Images) -> Image.Image:
    """(H, W, C) uint8 -> Pillow, of mode "L" for C = 1 and "RGB" for C = 3."""
    return Image.fromarray(image.squeeze(-1) if image.shape[-1] == 1 else image)


def read_image(path: str | Path, size: Size, fit: str = "squash", channels: int = 3) -> Images:
    """Read an image file as (H, W, channels) uint8, rotated as its EXIF data say; see `fit_image`.

    Raises:
        DataError: The file is missing, truncated or not an image.
    """
    with opened_image(path) as image:
        return fit_image(image, size, fit, channels)


@contextmanager
def opened_image(path: str | Path) -> Iterator[Image.Image]:
    """Open an image file; `DataError` if it is missing, truncated or not an image, also within the block."""
    with naming_broken_images(path), Image.open(path) as image:
        yield image


def read_mask(path: str | Path, size: Size, fit: str = "squash") -> Images:
    """Read a mask (8-bit grey, or with a palette) as (H, W, 1) uint8.

    It is resized like an image in `read_image`, by "squash" or "crop", but each pixel gets the value that covers most
    of it.

    Raises:
        DataError: The file is missing, truncated or of another kind.
    """
    with naming_broken_images(path), Image.open(path) as mask:
        if mask.mode not in ("L", "P"):
            raise DataError(f"{path}: a mask must be 8-bit grey or have a palette, got mode {mask.mode}")
        pixels, values = np.asarray(mask), np.flatnonzero(mask.histogram()).astype(np.uint8)
        shares = [
            np.asarray(_fit(Image.fromarray(255 * (pixels == value).astype(np.uint8)), size, fit, Image.Resampling.BOX))
            for value in values
        ]
        return values[np.argmax(shares, axis=0)][..., None]


def fit_image(image: Image.Image, size: Size, fit: str, channels: int = 3) -> Images:
    """Convert an image of any mode and size; rotated as its EXIF data say.

    Args:
        image: An image of any mode. More than 8 bits are scaled to 8 by the range that the file states, or that 16 bits
            have. Transparent images get a white background.
        size: Size of the result in pixels.
        fit: "squash" resizes directly; "crop" resizes the largest central part with the right proportions; "pad"
            surrounds an image of at most `size` pixels with black. Resizing is bilinear with antialiasing.
        channels: 3, or 1 for grey.

    Returns:
        (H, W, channels) uint8.

    Raises:
        UserError: "pad" with an image that is larger than `size`.
        ValueError: It is not clear what the values of the image mean.
    """
    image = _fit(upright(as_rgb(image), image), size, fit, Image.Resampling.BILINEAR)
    return np.asarray(image) if channels == 3 else np.asarray(image.convert("L"))[..., None]


def _fit(image: Image.Image, size: Size, fit: str, resampling: Image.Resampling) -> Image.Image:
    height, width = height_width(size)
    if fit == "squash":
        return image.resize((width, height), resampling)
    if fit == "crop":
        return ImageOps.fit(image, (width, height), resampling)
    if image.height > height or image.width > width:
        least = f"{image.height} x {image.width}"
        raise UserError(f"`image_size` must be at least {least} for these images, got {height} x {width}")
    canvas = Image.new(image.mode, (width, height))
    canvas.paste(image, ((width - image.width) // 2, (height - image.height) // 2))
    return canvas


@contextmanager
def naming_broken_images(path: object) -> Iterator[None]:
    """Turn the errors that Pillow raises for a broken file into a `DataError` that names `path`."""
    try:
        yield
    except FileNotFoundError:
        raise DataError(f"{path}: no such image") from None
    except UserError:
        raise
    except UnclearRange as error:
        raise DataError(f"{path}: {error}") from None
    except Exception as error:  # of a broken file, Pillow raises nearly anything
        reason = str(error) or type(error).__name__
        for name in (path, os.path.abspath(str(path))):  # Pillow names the file too, Pillow 11 by its absolute path
            reason = reason.replace(f" '{name}'", "")
        reason = re.sub(r" <_io\.BytesIO .*?>", "", reason)
        raise DataError(f"{path}: broken image ({reason})") from None


def resize_images(images: Images, size: int) -> Images:
    """(N, H, W, 3) uint8 -> (N, size, size, 3), resized like the images of `read_image`."""
    if images.shape[1:3] == (size, size):
        return images
    resized = [Image.fromarray(image).resize((size, size), Image.Resampling.BILINEAR) for image in images]
    return np.stack([np.asarray(image) for image in resized])


def write_png(path: str | Path, image: Images) -> None:
    """Write a (H, W, C) uint8 image as a PNG file, atomically."""
    with atomic_path(path) as temporary:
        to_pil(image).save(temporary, format="PNG")


def write_gif(path: str | Path, frames: Sequence[Images]) -> None:
    """Write (H, W, 3) uint8 frames as a looping GIF, with 80 ms per frame and two seconds for the last one."""
    first, *rest = [Image.fromarray(frame) for frame in frames]
    durations = [80] * (len(frames) - 1) + [2000]
    with atomic_path(path) as temporary:
        first.save(temporary, format="GIF", save_all=True, append_images=rest, duration=durations, loop=0)


def image_grid(images: Images, columns: int) -> Images:
    """Put (N, H, W, C) images row by row on white -> one (H', W', C) image. A single image is returned unchanged."""
    import torch
    from torchvision.utils import make_grid

    tensor = torch.from_numpy(np.ascontiguousarray(images)).movedim(-1, 1)
    grid = make_grid(tensor, nrow=columns, padding=2, pad_value=255).movedim(0, -1).numpy()
    return grid[..., : images.shape[-1]]  # torchvision turns grey images into colour images
