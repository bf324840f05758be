"""Compare a rendered replica with measurements of public i-CLEVR images; exit code 1 if a difference is too large.

    python benchmarks/check_replica.py --root data/iclevr

The reference numbers were taken from 448 public 64 x 64 images in the style of i-CLEVR: the median
background on a grid, and the box (with the contact shadow) and the median colour of the object in the center
of images that show one object. The box is where an image differs from the ground to the left and
right of it by more than a share `_CONTRAST` of the largest difference.

Grain is the deviation of the ground from its own 5 x 5 neighbourhood: smooth shading passes, speckles do not.
"""

from __future__ import annotations

import argparse
import sys
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image

from lab_ddpm.cli import run
from lab_ddpm.data.conditions import load_labels
from lab_ddpm.data.iclevr import OBJECTS, ROOT
from lab_ddpm.data.images import Images, read_image
from lab_ddpm.iclevr.replica.renderer import render_image
from lab_ddpm.iclevr.replica.replica import read_identity
from lab_ddpm.iclevr.replica.scenes import sample_scene
from lab_ddpm.tools.errors import DataError

_MAX_IMAGES = 600  # more do not change a median
_GRID = (0, 16, 32, 48, 63)  # rows and columns
_BACKGROUND = [
    [(105, 105, 104), (106, 106, 105), (105, 105, 105), (105, 104, 104), (103, 103, 103)],
    [(104, 104, 104), (112, 112, 112), (117, 116, 116), (111, 110, 110), (103, 103, 103)],
    [(132, 133, 137), (128, 128, 129), None, (128, 127, 126), (119, 118, 117)],
    [(120, 120, 120), (129, 127, 126), (137, 135, 133), (141, 139, 136), (132, 131, 128)],
    [(119, 119, 117), (131, 130, 127), (145, 143, 139), (151, 149, 144), (146, 143, 139)],
]
# Object: box (x, y, width, height) and colour. Of cubes, x and width belong to one unknown turn each.
_CENTER = {
    "gray cube": ((27, 21, 9, 14), (89, 89, 88)),
    "red cube": ((27, 21, 11, 14), (114, 56, 54)),
    "blue cube": ((27, 21, 10, 14), (61, 78, 123)),
    "green cylinder": ((28, 21, 8, 14), (52, 91, 41)),
    "brown cylinder": ((28, 21, 8, 14), (102, 77, 45)),
    "purple cylinder": ((28, 21, 8, 13), (103, 57, 120)),
}
_MEAN = (121, 121, 120)
_CONTRAST = 0.3
_LIMITS = {"background": 10.0, "mean": 10.0, "colour": 12.0, "box": 1.0, "grain": 1.0, "bytes": 0.0}


@dataclass(frozen=True)
class Comparison:
    """One measurement beside its reference.

    Attributes:
        what: Its kind, one of `_LIMITS`, and its place.
        measured: Colours in [0, 255], boxes in pixels.
        reference: As `measured`.
        limit: The largest difference that passes.
    """

    what: str
    measured: NDArray[np.float64]
    reference: NDArray[np.float64]
    limit: float

    @property
    def difference(self) -> float:
        """The largest difference between the numbers."""
        return float(np.abs(self.measured - self.reference).max())

    @property
    def passes(self) -> bool:
        """Whether no number differs by more than the limit."""
        return self.difference <= self.limit

    def __str__(self) -> str:
        measured, reference = (" ".join(f"{x:.4g}" for x in side) for side in (self.measured, self.reference))
        verdict = f"{self.difference:6.2f} of {self.limit:2.0f}  {'ok' if self.passes else 'OFF'}"
        return f"{self.what:32} {measured:>20} {reference:>14} {verdict}"


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, default=ROOT, help=f"rendered images (default: {ROOT})")
    comparisons = check_replica(parser.parse_args(arguments).root)
    print(*comparisons, sep="\n")
    return int(not all(comparison.passes for comparison in comparisons))


def check_replica(root: Path) -> list[Comparison]:
    """Measure a rendered folder.

    Args:
        root: A folder that `replica.render_replica` has finished. About 100 scenes are enough.

    Raises:
        DataError: A file is missing or broken.
    """
    labels = load_labels(root / "train.json", OBJECTS)
    names = sorted(labels)[:_MAX_IMAGES]
    images = np.stack([read_image(root / "images" / name, 64) for name in names])
    singles: dict[str, list[Images]] = defaultdict(list)
    for name, image in zip(names, images, strict=True):
        if len(labels[name]) == 1:
            singles[labels[name][0]].append(image)
    comparisons = [
        *_background(images),
        _compare("mean", "all images", images.mean(axis=(0, 1, 2)), _MEAN),
    ]
    for name in _CENTER:
        if singles[name]:
            comparisons += _center(name, singles[name])
    return [
        *comparisons,
        _compare("grain", "bottom rows", [_grain(images)], [0]),
        _compare("bytes", "other pixels rendered again", [_count_changed(root, names)], [0]),
    ]


def measure_center(image: Images) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Box (x, y, width, height) and median colour of the object in the center of a (64, 64, 3) image."""
    top, left, size = 16, 18, 28
    crop = image[top : top + size, left : left + size].astype(np.float64)
    weight = np.linspace(0, 1, size)[:, None]
    ground = crop[:, :1] * (1 - weight) + crop[:, -1:] * weight
    contrast = np.abs(crop - ground).max(axis=2)
    mask = contrast > _CONTRAST * contrast.max()
    ys, xs = mask.nonzero()
    box = np.array([left + xs.min(), top + ys.min(), np.ptp(xs) + 1, np.ptp(ys) + 1], dtype=np.float64)
    return box, np.median(crop[mask], axis=0)


def _compare(kind: str, place: str, measured: ArrayLike, reference: ArrayLike) -> Comparison:
    limit = _LIMITS[kind]
    return Comparison(f"{kind}: {place}", np.asarray(measured, float), np.asarray(reference, float), limit)


def _background(images: Images) -> list[Comparison]:
    median = np.median(images, axis=0)
    return [
        _compare("background", f"row {y}, column {x}", median[y, x], reference)
        for y, line in zip(_GRID, _BACKGROUND, strict=True)
        for x, reference in zip(_GRID, line, strict=True)
        if reference is not None
    ]


def _center(name: str, images: Sequence[Images]) -> list[Comparison]:
    measured = [measure_center(image) for image in images]
    box, colour = (np.median(values, axis=0) for values in zip(*measured, strict=True))
    sides = [1, 3] if name.endswith("cube") else [0, 1, 2, 3]
    letters = ", ".join("xywh"[side] for side in sides)
    true_box, true_colour = _CENTER[name]
    return [
        _compare("box", f"{name} ({letters})", box[sides], [true_box[side] for side in sides]),
        _compare("colour", name, colour, true_colour),
    ]


def _grain(images: Images) -> float:
    """Median over images of the standard deviation of the lowest rows around their smooth course."""
    ground = images[:, -8:].mean(axis=3)
    windows = np.lib.stride_tricks.sliding_window_view(ground, (5, 5), axis=(1, 2))
    residual = ground[:, 2:-2, 2:-2] - windows.mean(axis=(3, 4))
    return float(np.median(residual.std(axis=(1, 2))))


def _count_changed(root: Path, names: list[str]) -> int:
    """Render three of the images again and count those that are not the same."""
    identity = read_identity(root)
    if identity is None:
        raise DataError(f"{root / 'replica.json'}: no such file")
    forbidden = [frozenset(combination) for combination in identity["forbidden"]]
    changed = 0
    for name in names[:: max(len(names) // 3, 1)][:3]:
        number, step = (int(part) for part in Path(name).stem.split("_")[-2:])
        again = render_image(sample_scene(identity["seed"], number, forbidden=forbidden), step)
        with Image.open(root / "images" / name) as stored:
            changed += not np.array_equal(np.asarray(stored), again)
    return changed


if __name__ == "__main__":
    sys.exit(run(main))
