"""What several benchmarks share: tables, rows of shares, ratios of speeds, numbers about images."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any, TypedDict

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from lab_ddpm.data.images import Images
from lab_ddpm.diffusion.layout import read_layout
from lab_ddpm.diffusion.sample_space import SampleSpace
from lab_ddpm.evaluation.intervals import Score, as_text, share_interval
from lab_ddpm.tools.checksums import check_sums
from lab_ddpm.tools.errors import DataError, UserError
from lab_ddpm.tools.weights import read_weights
from lab_ddpm.training.config import TrainConfig
from lab_ddpm.training.config_parser import parse_config
from lab_ddpm.training.state import newest_state


def markdown_table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table with one line per row, each of as many cells as there are columns; ends with a line break."""
    lines = [columns, ["---"] * len(columns), *rows]
    return "".join(f"| {' | '.join(map(str, line))} |\n" for line in lines)


class ShareRow(TypedDict):
    """A share of `of` trials, with its 95 % interval; None where there was no trial."""

    what: str
    share: Score | None
    of: int


def share_row(what: str, found: ArrayLike) -> ShareRow:
    """The row of how many of the values are true."""
    found = np.asarray(found, dtype=bool)
    share = share_interval(int(found.sum()), found.size) if found.size else None
    return ShareRow(what=what, share=share, of=found.size)


def cells(row: ShareRow) -> list[object]:
    """The row under the columns "what", "share", "of"."""
    return [row["what"], as_text(row["share"], ".3f") if row["share"] else "-", row["of"]]


def as_ratio(ratios: Sequence[float]) -> str:
    """`1.02 [0.98, 1.11]`: the median, the smallest and the largest of the ratios of all rounds."""
    return f"{median(ratios):.2f} [{min(ratios):.2f}, {max(ratios):.2f}]"


def image_statistics(images: Images) -> dict[str, float]:
    """Brightness, contrast, saturation and sharpness of (N, H, W, C) uint8 images.

    brightness   mean of all values, 0 (black) to 1 (white)
    contrast     standard deviation of all values of an image, averaged over the images
    saturation   largest minus smallest channel of a pixel, averaged; 0 for grey images
    sharpness    mean absolute Laplacian (each pixel against the mean of its four neighbours)
    """
    values = images.astype(np.float32) / 255
    return {
        "brightness": float(values.mean()),
        "contrast": float(values.std(axis=(1, 2, 3)).mean()),
        "saturation": float((values.max(axis=-1) - values.min(axis=-1)).mean()),
        "sharpness": float(_laplacian(values).mean()),
    }


def sharpness_within(images: Images, areas: NDArray[np.bool_]) -> float:
    """The sharpness in a part of each image; nan where all parts are empty.

    Args:
        images: (N, H, W, C) uint8.
        areas: (N, h, w), h a divisor of H and w of W: which blocks of H / h x W / w pixels count.
    """
    height, width = (size // of for size, of in zip(images.shape[1:3], areas.shape[1:], strict=True))
    within = areas.repeat(height, axis=1).repeat(width, axis=2)[:, 1:-1, 1:-1]
    return float(_laplacian(images.astype(np.float32) / 255)[within].mean()) if within.any() else float("nan")


def patch_energy(images: Images, patch_size: int) -> float:
    """The share of the energy of images that repeats from patch to patch: large for a weave, small for real images.

    Of the discrete Fourier transform of every channel, all but its mean: what is at multiples of one cycle per patch,
    along both axes.

    Args:
        images: (N, H, W, C) uint8, H and W divisible by `patch_size`.
        patch_size: Height and width of the patches, more than 1.
    """
    height, width = images.shape[1:3]
    energy = np.abs(np.fft.fft2(images.astype(np.float32), axes=(1, 2))) ** 2
    energy[:, 0, 0] = 0
    return float(energy[:, :: height // patch_size, :: width // patch_size].sum() / energy.sum())


def by_patch(space: SampleSpace, masks: torch.Tensor) -> torch.Tensor:
    """Reduce masks to one value per patch, as clean layouts show them: (B, 1, H / p, W / p)."""
    layout = space.make_layout(masks)
    assert layout is not None
    return read_layout(layout, space.num_labels)


def iclevr_preset(path: Path, *options: str) -> TrainConfig:
    """The config of a preset under options of the command line; it must be for i-CLEVR."""
    config = parse_config(["--config", str(path), *options])
    if config.data.dataset != "iclevr":
        raise UserError(f"`configs` must be presets of i-CLEVR, got {path} of {config.data.dataset!r}")
    return config


def images_per_second(records: Sequence[Mapping[str, Any]], batch_size: int) -> float:
    """The speed of a training between its first and its last logged loss (the first step includes the warm-up)."""
    losses = [record for record in records if "loss" in record]
    first, last = losses[0], losses[-1]
    return batch_size * (last["step"] - first["step"]) / (last["seconds"] - first["seconds"])


def own_weights(run: Path) -> dict[str, torch.Tensor]:
    """The network's own weights, not their average, in the newest state of a run."""
    folder = newest_state(run)
    if folder is None:
        raise DataError(f"{run}: no states")
    check_sums(folder)
    return read_weights(folder / "denoiser.safetensors")


def _laplacian(values: NDArray[np.floating]) -> NDArray[np.floating]:
    """Absolute values, without the outermost pixels: (N, H - 2, W - 2, C)."""
    neighbours = values[:, :-2, 1:-1] + values[:, 2:, 1:-1] + values[:, 1:-1, :-2] + values[:, 1:-1, 2:]
    return np.abs(values[:, 1:-1, 1:-1] - neighbours / 4)
