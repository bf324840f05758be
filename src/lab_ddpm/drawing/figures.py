"""Images with text: captioned grids, denoising and interpolation strips, and the denoising animation.

Pillow draws them pixel by pixel. Matplotlib would resample the images, and is not installed everywhere.

A strip counts *progress* i = T - 1 - t: i = 0 is pure noise, i = T - 1 the finished image. For T = 1000 it shows
i = 550, 600, ..., 950, the part in which objects appear, and 999. If the sampler does not visit a noise level t, the
nearest one that it visits is shown.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import zip_longest
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont, ImageOps

from lab_ddpm.data.conditions import Condition
from lab_ddpm.data.images import Images, to_pil, to_uint8, write_gif, write_png
from lab_ddpm.diffusion.denoiser import Denoiser
from lab_ddpm.diffusion.sampling import FINISHED
from lab_ddpm.generation.interpolation import Interpolation

_ANIMATION_FRAMES, _ANIMATION_COLUMNS = 16, 4
_SCALE = 2  # magnification
_FONT = ImageFont.load_default(13)
_GAP = 6


class DenoisingRecorder:
    """An `on_state` for `sampling.sample` that records the images of a strip and an animation.

    It follows a few images of the first batch, evenly spread, and keeps only the noise levels that are shown. So even
    a sampler with 1000 steps needs little memory.

    Args:
        denoiser: The model.
        count: Number of images to follow.

    Attributes:
        indices: The followed images of the batch, known once sampling has begun.
        strip_levels, animation_levels: The noise levels t to be shown.
    """

    def __init__(self, denoiser: Denoiser, count: int = 8) -> None:
        self.indices: list[int] = []
        self._space, self._count = denoiser.space, count
        self._num_train_timesteps: int = denoiser.config["num_train_timesteps"]
        last = self._num_train_timesteps - 1
        self.strip_levels = [last - self._num_train_timesteps * percent // 100 for percent in range(55, 100, 5)]
        self.animation_levels = np.linspace(last, 0, _ANIMATION_FRAMES).round().astype(int).tolist()
        self._nearest: dict[int, tuple[int, Images]] = {}  # level -> visited level, images

    def __call__(self, timestep: int, samples: torch.Tensor) -> None:
        """Record (B, *space.shape) samples that are about to be denoised from `timestep`."""
        if FINISHED in self._nearest:
            return
        if not self.indices:
            self.indices = np.linspace(0, len(samples) - 1, min(self._count, len(samples))).round().astype(int).tolist()
        state = to_uint8(self._space.decode(samples[self.indices]))
        if timestep == FINISHED:
            self._nearest[FINISHED] = (FINISHED, state)
            return
        for level in [*self.strip_levels, *self.animation_levels]:
            if level not in self._nearest or abs(timestep - level) < abs(self._nearest[level][0] - level):
                self._nearest[level] = (timestep, state)

    def write(self, out: Path, conditions: Sequence[Condition]) -> None:
        """Write `out/strip.png` and `out/denoising.gif`.

        Args:
            out: The folder.
            conditions: The conditions of the whole list. The first batch is its beginning.
        """
        captions = [", ".join(conditions[index]) for index in self.indices]
        write_png(out / "strip.png", self._strip(captions))
        write_gif(out / "denoising.gif", self._frames(captions))

    def states(self, levels: Sequence[int]) -> dict[int, Images]:
        """The visited noise levels t that are nearest to `levels` -> (P, H, W, C) uint8, and `FINISHED` at the end."""
        return dict(self._nearest[level] for level in [*levels, FINISHED])

    def _strip(self, captions: Sequence[str]) -> Images:
        """One row per image, with its caption; one column per noise level, with its i and t above."""
        states, last = self.states(self.strip_levels), self._num_train_timesteps - 1
        header = [f"i = {last}, finished" if t == FINISHED else f"i = {last - t}, t = {t}" for t in states]
        rows = [[caption, *images] for caption, *images in zip(captions, *states.values(), strict=True)]
        return image_table([["", *header], *rows])

    def _frames(self, captions: Sequence[str]) -> list[Images]:
        """A captioned grid at each noise level, in even steps from pure noise to the finished images."""
        nearest = Image.Resampling.NEAREST  # noise in large pixels halves the size of a GIF
        states = self.states(self.animation_levels)
        return [labelled_grid(images, captions, _ANIMATION_COLUMNS, nearest) for images in states.values()]


def interpolation_strip(interpolation: Interpolation, ends: Sequence[Images], captions: Sequence[str]) -> Images:
    """One row: the first source, the images from lambda 0 to 1, the second source.

    Args:
        interpolation: Images from `generation.interpolation`.
        ends: The two sources (H, W, C) uint8; none for conditions.
        captions: The captions of the two ends.

    Returns:
        (H', W', 3) uint8.
    """
    images = list(to_uint8(interpolation.images))
    names = [f"lambda {value:.2f}" for value in interpolation.lambdas.tolist()]
    if ends:
        images, names = [ends[0], *images, ends[1]], [captions[0], *names, captions[1]]
    else:
        names[0], names[-1] = f"{captions[0]}, lambda 0", f"{captions[1]}, lambda 1"
    return image_table([names, images])


def labelled_grid(
    images: Images,
    captions: Sequence[str],
    columns: int,
    resampling: Image.Resampling = Image.Resampling.LANCZOS,
) -> Images:
    """Images row by row, each with its caption under it.

    Args:
        images: (N, H, W, C) uint8, C = 1 or 3.
        captions: N captions.
        columns: Images in a row.
        resampling: How to magnify.

    Returns:
        (H', W', 3) uint8.
    """
    rows: list[Sequence[Images | str]] = []
    for start in range(0, len(images), columns):
        rows += [list(images[start : start + columns]), captions[start : start + columns]]
    return image_table(rows, resampling)


def image_table(
    rows: Sequence[Sequence[Images | str]], resampling: Image.Resampling = Image.Resampling.NEAREST
) -> Images:
    """Images and texts in rows and columns.

    Args:
        rows: Cells: (H, W, C) uint8 images, C = 1 or 3, magnified twice; or texts. A text that is wider than an image
            is broken after commas. A column is as wide as its widest cell, so no text is cut off.
        resampling: How to magnify.

    Returns:
        (H', W', 3) uint8, black on white.
    """
    width = _SCALE * max(cell.shape[1] for row in rows for cell in row if not isinstance(cell, str))
    cells = [
        [_text(cell, width) if isinstance(cell, str) else _enlarged(cell, resampling) for cell in row] for row in rows
    ]
    widths = [max(cell.width for cell in column if cell) for column in zip_longest(*cells)]
    heights = [max(cell.height for cell in row) for row in cells]
    canvas = Image.new("RGB", (sum(widths) + _GAP * (len(widths) + 1), sum(heights) + _GAP * 2), "white")
    top = _GAP
    for row, height in zip(cells, heights, strict=True):
        left = _GAP
        for cell, width in zip(row, widths, strict=False):
            canvas.paste(cell, (left + (width - cell.width) // 2, top + (height - cell.height) // 2))
            left += width + _GAP
        top += height
    return np.asarray(canvas)


def _enlarged(image: Images, resampling: Image.Resampling) -> Image.Image:
    enlarged = ImageOps.scale(to_pil(image).convert("RGB"), _SCALE, resampling)
    return ImageOps.expand(enlarged, (0, _GAP // 2), "white")


def _text(text: str, width: int) -> Image.Image:
    """Text in black on white, centered, broken after commas so that it is at most `width` pixels wide if possible."""
    lines: list[str] = []
    for part in text.replace(", ", ",\n").split("\n"):
        if lines and _FONT.getlength(f"{lines[-1]} {part}") <= width:
            lines[-1] += f" {part}"
        else:
            lines.append(part)
    block = "\n".join(lines)
    draw = ImageDraw.Draw(Image.new("RGB", (1, 1)))
    left, _, right, _ = draw.multiline_textbbox((0, 0), block, font=_FONT, align="center")
    # as high as any text of so many lines, so that texts side by side stand on one baseline
    bottom = draw.multiline_textbbox((0, 0), "\n".join(["Ag"] * len(lines)), font=_FONT)[3]
    image = Image.new("RGB", (int(right - left) + 3, int(bottom) + 2 * _GAP), "white")
    ImageDraw.Draw(image).multiline_text((1 - left, _GAP / 2), block, fill="black", font=_FONT, align="center")
    return image
