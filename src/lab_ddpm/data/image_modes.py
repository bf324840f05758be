"""Image files of any mode, number of bits and orientation as upright RGB images."""

from __future__ import annotations

from contextlib import suppress

import numpy as np
from PIL import ExifTags, Image, ImageStat

_UPRIGHT = {  # what makes an image upright, by its EXIF orientation
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_MOST = 2**16 - 1  # of 16 bits
_WHITE_IS_ZERO = 0  # of a TIFF file
_LEAST_OF_16_BITS = 2**14  # a file that is darker everywhere holds 14 bits or fewer, and would look black


class UnclearRange(ValueError):
    """A good file, but what its values mean is not clear."""


def upright(image: Image.Image, opened: Image.Image) -> Image.Image:
    """As `ImageOps.exif_transpose`, by the tags of the opened file; that fails if any other tag is malformed."""
    with suppress(Exception):  # of malformed EXIF data, Pillow raises nearly anything
        return image.transpose(_UPRIGHT[opened.getexif()[ExifTags.Base.Orientation]])
    return image


def as_rgb(image: Image.Image) -> Image.Image:
    """An opened image of any mode in RGB, on white.

    Raises:
        UnclearRange: It is not clear what its values mean.
    """
    has_16_bits = image.mode.startswith("I;16") or any(";16" in str(tile[3]) for tile in getattr(image, "tile", ()))
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        low, high = _stated_range(image)
        values = np.asarray(image, dtype=np.float32)
        if not (values.min() >= low and values.max() <= high):  # also if one is not a number
            raise UnclearRange(
                f"values from {values.min():g} to {values.max():g}, where the file states {low:g} to {high:g}"
            )
        has_16_bits &= high == _MOST
        values = (255 / (high - low) * (values - low)).round().astype(np.uint8)
        is_negative = getattr(image, "tag_v2", {}).get(ExifTags.Base.PhotometricInterpretation) == _WHITE_IS_ZERO
        image = Image.fromarray(255 - values if is_negative else values)
    if has_16_bits:
        bands = zip(image.getbands(), ImageStat.Stat(image).extrema, strict=True)
        if 0 < max(high for band, (_, high) in bands if band != "A") < 256 * _LEAST_OF_16_BITS / _MOST:
            raise UnclearRange("a file of 16 bits whose values need 14 or fewer: convert it to 8 bits")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert("RGB")


def _stated_range(image: Image.Image) -> tuple[float, float]:
    """The lowest and the highest value that a grey image of more than 8 bits can have, as its file says."""
    tags = getattr(image, "tag_v2", {})  # of a TIFF file
    for lowest, highest, default in (
        ("SMinSampleValue", "SMaxSampleValue", np.nan),
        ("MinSampleValue", "MaxSampleValue", 0),
    ):
        low = float(np.ravel(tags.get(ExifTags.Base[lowest], default))[0])
        high = float(np.ravel(tags.get(ExifTags.Base[highest], np.nan))[0])
        if low < high:
            return low, high
    if image.mode.startswith("I;16"):
        return 0, 2.0 ** int(np.ravel(tags.get(ExifTags.Base.BitsPerSample, 16))[0]) - 1
    if image.format == "PPM" and image.mode == "I":  # Pillow scales it
        return 0, _MOST
    raise UnclearRange("32 bits per pixel, and the file does not state their range: convert it to 8 or 16 bits")
