"""Images with words beside them: captioned grids, denoising and interpolation strips, the denoising animation.

The reverse process is read in *progress* i = T - 1 - t: i = 0 is pure noise, i = T - 1 the finished image. The
strip shows i = 550, 600, ..., 950, 999 for T = 1000, the part in which objects appear; a sampler that visits
fewer noise levels t is shown at the nearest one that it visits.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import zip_longest
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont

from lab_ddpm.data.conditions import Condition
from lab_ddpm.data.images import Images, to_uint8, write_gif, write_png
from lab_ddpm.diffusion.reverse_process import FINISHED
from lab_ddpm.generation.interpolation import Walk

_ANIMATION_FRAMES = 16
_SCALE = 2  # magnification
_FONT = ImageFont.load_default(13)
_GAP = 6


class DenoisingRecorder:
    """A `reverse_process.StateCallback` that keeps what a strip and an animation show.

    Of the first batch it follows a few images, evenly spread over the batch, and keeps them at the wanted noise
    levels only, so that a sampler of 1000 steps needs little memory.

    Args:
        count: Images to follow.
        num_train_timesteps: T.

    Attributes:
        indices: Places of the followed images in the batch, known once it has begun.
    """

    def __init__(self, count: int = 8, num_train_timesteps: int = 1000) -> None:
        self.num_train_timesteps, last = num_train_timesteps, num_train_timesteps - 1
        self.indices: list[int] = []
        self._count = count
        self._strip_levels = [last - num_train_timesteps * percent // 100 for percent in range(55, 100, 5)]
        self._animation_levels = np.linspace(last, 0, _ANIMATION_FRAMES).round().astype(int).tolist()
        self._nearest: dict[int, tuple[int, Images]] = {}
        self._finished: Images | None = None

    def __call__(self, timestep: int, images: torch.Tensor) -> None:
        """Take note of (B, C, H, W) images in [-1, 1] that are about to be denoised from `timestep`."""
        if self._finished is not None:
            return
        if not self.indices:
            places = np.linspace(0, len(images) - 1, min(self._count, len(images)))
            self.indices = places.round().astype(int).tolist()
        state = to_uint8(images[self.indices])
        if timestep == FINISHED:
            self._finished = state
            return
        for level in [*self._strip_levels, *self._animation_levels]:
            if level not in self._nearest or abs(timestep - level) < abs(self._nearest[level][0] - level):
                self._nearest[level] = (timestep, state)

    def write(self, out: Path, conditions: Sequence[Condition]) -> None:
        """Write `out/strip.png` and `out/denoising.gif`.

        Args:
            out: The folder.
            conditions: Those of the whole list; the first batch is its beginning.
        """
        captions = [", ".join(conditions[index]) for index in self.indices]
        strip = denoising_strip(self.strip_states(), captions, num_train_timesteps=self.num_train_timesteps)
        write_png(out / "strip.png", strip)
        write_gif(out / "denoising.gif", denoising_frames(self.animation_states(), captions))

    def strip_states(self) -> dict[int, Images]:
        """Noise level t -> (P, H, W, C) uint8, noisiest first, `FINISHED` last; for `denoising_strip`.

        A level that is the nearest one to several of the wanted ones comes once.
        """
        return self._states(self._strip_levels)

    def animation_states(self) -> dict[int, Images]:
        """The same for `denoising_frames`: from pure noise on, in even steps."""
        return self._states(self._animation_levels)

    def _states(self, levels: Sequence[int]) -> dict[int, Images]:
        if self._finished is None:
            raise RuntimeError("nothing is recorded yet: the pipeline has not finished a batch")
        return dict(self._nearest[level] for level in levels) | {FINISHED: self._finished}


def denoising_strip(states: Mapping[int, Images], captions: Sequence[str], num_train_timesteps: int = 1000) -> Images:
    """One row per image with its caption, one column per noise level under its i and t.

    Args:
        states: From `DenoisingRecorder.strip_states`: t -> (P, H, W, C) uint8.
        captions: P captions.
        num_train_timesteps: T.

    Returns:
        (H', W', 3) uint8.
    """
    last, width = num_train_timesteps - 1, _SCALE * next(iter(states.values())).shape[2]
    names = [f"i = {last}, finished" if t == FINISHED else f"i = {last - t}, t = {t}" for t in states]
    header = [_text("", 0), *(_text(name, width) for name in names)]
    rows = [
        [_text(caption, 0), *(_enlarged(state[row], _SCALE, Image.Resampling.NEAREST) for state in states.values())]
        for row, caption in enumerate(captions)
    ]
    return _table([header, *rows], row_gap=_GAP, vertical=0.5)


def interpolation_strip(walk: Walk, ends: Sequence[Images], captions: Sequence[str]) -> Images:
    """One row: the first source, the images from lambda 0 to 1, the second source; without sources for conditions.

    Args:
        walk: From `interpolation`.
        ends: The two sources (H, W, C) uint8, or none.
        captions: Of the two ends.

    Returns:
        (H', W', 3) uint8.
    """
    images = list(to_uint8(walk.images))
    names = [f"lambda {value:.2f}" for value in walk.lambdas.tolist()]
    if ends:
        images, names = [ends[0], *images, ends[1]], [captions[0], *names, captions[1]]
    else:
        names[0], names[-1] = f"{captions[0]}, lambda 0", f"{captions[1]}, lambda 1"
    cells = [_enlarged(image, _SCALE, Image.Resampling.NEAREST) for image in images]
    return _table([[_text(name, cell.width) for name, cell in zip(names, cells, strict=True)], cells], vertical=0.5)


def copies_figure(images: Images, training: Images) -> Images:
    """Two rows: samples, and the training image that is nearest to each; (N, H, W, C) uint8 both."""
    rows = [
        [_text(name, 0), *(_enlarged(image, _SCALE, Image.Resampling.NEAREST) for image in row)]
        for name, row in (("sample", images), ("nearest", training))
    ]
    return _table(rows, row_gap=_GAP, vertical=0.5)


def captioned_rows(rows: Sequence[tuple[str, Sequence[Images], Sequence[str]]]) -> Images:
    """Rows of images with their names on the left.

    Args:
        rows: The name of each, its (H, W, C) uint8 images, and a caption under each of them, or none.

    Returns:
        (H', W', 3) uint8.
    """
    table = []
    for name, images, captions in rows:
        cells = [_enlarged(image, _SCALE, Image.Resampling.LANCZOS) for image in images]
        table.append([_text(name, 0), *cells])
        if captions:
            texts = [_text(caption, cell.width) for caption, cell in zip(captions, cells, strict=True)]
            table.append([_text("", 0), *texts])
    return _table(table, row_gap=_GAP // 2, vertical=0.5)


def denoising_frames(states: Mapping[int, Images], captions: Sequence[str]) -> list[Images]:
    """Frames for `images.write_gif`: at each noise level a captioned grid, four images in a row.

    Args:
        states: From `DenoisingRecorder.animation_states`: t -> (P, H, W, C) uint8.
        captions: P captions.
    """
    nearest = Image.Resampling.NEAREST  # noise in large pixels makes a GIF of half the size
    return [labelled_grid(images, captions, 4, _SCALE, nearest) for images in states.values()]


def labelled_grid(
    images: Images,
    captions: Sequence[str],
    columns: int,
    scale: int = _SCALE,
    resampling: Image.Resampling = Image.Resampling.LANCZOS,
) -> Images:
    """Images row by row, each with its caption under it.

    Args:
        images: (N, H, W, C) uint8, C = 1 or 3.
        captions: N captions; one that is too long for a line is broken after a comma. Columns are as wide as
            their widest line, so nothing is ever cut off.
        columns: Images in a row.
        scale: Magnification.
        resampling: How to magnify.

    Returns:
        (H', W', 3) uint8, black on white.
    """
    cells = [_enlarged(image, scale, resampling) for image in images]
    texts = [_text(caption, cell.width) for caption, cell in zip(captions, cells, strict=True)]
    rows: list[list[Image.Image]] = []
    for start in range(0, len(cells), columns):
        rows += [cells[start : start + columns], texts[start : start + columns]]
    return _table(rows)


def _enlarged(image: Images, scale: int, resampling: Image.Resampling) -> Image.Image:
    height, width, _ = image.shape
    colour = np.ascontiguousarray(np.broadcast_to(image, (height, width, 3)))
    return Image.fromarray(colour).resize((width * scale, height * scale), resampling)


def _text(text: str, width: int) -> Image.Image:
    """Black on white, centred, in as many lines as it takes to stay within `width` pixels where commas allow it."""
    lines: list[str] = []
    for part in text.replace(", ", ",\n").split("\n"):
        if lines and _FONT.getlength(f"{lines[-1]} {part}") <= width:
            lines[-1] += f" {part}"
        else:
            lines.append(part)
    block = "\n".join(lines)
    left, _, right, bottom = ImageDraw.Draw(Image.new("RGB", (1, 1))).multiline_textbbox(
        (0, 0), block, font=_FONT, align="center"
    )
    image = Image.new("RGB", (int(right - left) + 3, int(bottom) + 2 * _GAP), "white")
    ImageDraw.Draw(image).multiline_text((1 - left, _GAP / 2), block, fill="black", font=_FONT, align="center")
    return image


def _table(rows: Sequence[Sequence[Image.Image]], row_gap: int = 0, vertical: float = 0.0) -> Images:
    """Cells centred in columns as wide, at `vertical` (0 top, 1 bottom) of rows as high, as their largest cell."""
    widths = [max(cell.width for cell in column if cell) for column in zip_longest(*rows)]
    heights = [max(cell.height for cell in row) for row in rows]
    size = (sum(widths) + _GAP * (len(widths) + 1), sum(heights) + row_gap * (len(rows) - 1) + 2 * _GAP)
    canvas = Image.new("RGB", size, "white")
    top = _GAP
    for row, height in zip(rows, heights, strict=True):
        left = _GAP
        for cell, width in zip(row, widths, strict=False):
            canvas.paste(cell, (left + (width - cell.width) // 2, top + round((height - cell.height) * vertical)))
            left += width + _GAP
        top += height + row_gap
    return np.asarray(canvas)
