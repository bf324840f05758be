"""What stands where in the official images, which come without masks: seen in the differences of a scene's images.

Image k of a scene is image k - 1 with the last-named object added. Where it changed, and not only by the common
factor of a shadow, the new object stands. Image 0 is compared with its own empty ground, a polynomial through
what is outside its middle, where the first object stands.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import TypeVar, cast

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from tqdm.auto import tqdm

from lab_ddpm.data.conditions import Condition, load_labels
from lab_ddpm.data.iclevr import OBJECTS
from lab_ddpm.data.images import read_image, read_mask, write_png
from lab_ddpm.data.labelled_images import LABEL_FILE
from lab_ddpm.tools.errors import DataError
from lab_ddpm.tools.worker_pool import worker_pool

_WIDTH, _HEIGHT = 112, 84
_COLOUR_CHANGE = 6.0  # of 255, beyond that of a shadow
_CHANGE = 25.0  # of 255, more than a shadow darkens the ground
_DEGREE = 3  # of the polynomial
_MIDDLE = 0.17  # radius, as a share of the image, in which the first object stands

Image = NDArray[np.floating]
Mask = NDArray[np.uint8]  # (84, 112)
Result = TypeVar("Result")


def write_masks(root: Path) -> int:
    """Write those masks that `root/masks/` lacks, of the images of `train.json`; returns how many.

    Raises:
        DataError: An image is broken or missing, or its labels are not those of the one before and one more.
    """
    labels = load_labels(root / LABEL_FILE, OBJECTS)
    return sum(_of_scenes(labels, partial(_write_scene, root)))


def check_masks(root: Path) -> list[float]:
    """For every object of every image, how much of its area is shared with that in `root/masks/`.

    Returns:
        Intersections over unions, in [0, 1].

    Raises:
        DataError: As `write_masks`, or a known mask is missing or broken.
    """
    labels = load_labels(root / LABEL_FILE, OBJECTS)
    return [share for shares in _of_scenes(labels, partial(_check_scene, root)) for share in shares]


def _of_scenes(labels: Mapping[str, Condition], work: Callable[[dict[str, Condition]], Result]) -> Iterator[Result]:
    """What comes of the labels of each scene, by the names of its images, in as many processes as there are cores."""
    scenes: dict[str, dict[str, Condition]] = {}
    for name in sorted(labels):
        scenes.setdefault(name.rsplit("_", 1)[0], {})[name] = labels[name]
    for scene in scenes.values():
        _check_steps(scene)
    with worker_pool(min(os.cpu_count() or 1, len(scenes))) as pool:
        jobs = [pool.submit(work, scene) for scene in scenes.values()]
        try:
            for job in tqdm(jobs, desc="masks", unit="scene"):
                yield job.result()
        finally:
            pool.shutdown(cancel_futures=True)


def _write_scene(root: Path, labels: dict[str, Condition]) -> int:
    missing = [name for name in labels if not (root / "masks" / name).exists()]
    masks = scene_masks(root / "images", labels) if missing else {}
    for name in missing:
        write_png(root / "masks" / name, masks[name][..., None])
    return len(missing)


def _check_scene(root: Path, labels: dict[str, Condition]) -> list[float]:
    shares = []
    for name, mask in scene_masks(root / "images", labels).items():
        known = read_mask(root / "masks" / name, (_HEIGHT, _WIDTH))[..., 0]
        for place in np.unique(known[known > 0]):
            one, other = known == place, mask == place
            shares.append(float((one & other).sum() / (one | other).sum()))
    return shares


def scene_masks(images: Path, labels: dict[str, Condition]) -> dict[str, Mask]:
    """What stands where in the images of a scene, in their order: the object's place + 1, 0 for nothing.

    Raises:
        DataError: An image is broken or missing.
    """
    masks: dict[str, Mask] = {}
    mask = np.zeros((_HEIGHT, _WIDTH), dtype=np.uint8)
    before = None
    for name, condition in labels.items():
        image = read_image(images / name, (_HEIGHT, _WIDTH)).astype(float)
        new = new_object(empty_ground(image) if before is None else before, image)
        mask[new] = OBJECTS.index(condition[-1]) + 1
        masks[name] = mask.copy()
        before = image
    return masks


def _check_steps(labels: dict[str, Condition]) -> None:
    shown: Condition = ()
    for name, condition in labels.items():
        if condition[:-1] != shown:
            raise DataError(f"{LABEL_FILE}, {name}: must show one object more than the image before, got {condition}")
        shown = condition


def new_object(before: Image, after: Image) -> NDArray[np.bool_]:
    """Where an object is new: (H, W, 3) twice, in [0, 255] -> (H, W) bool."""
    shade = (before * after).sum(axis=-1) / np.maximum((before * before).sum(axis=-1), 1)
    colour_change = np.abs(after - shade[..., None] * before).max(axis=-1)
    changed = (colour_change > _COLOUR_CHANGE) | (np.abs(after - before).max(axis=-1) > _CHANGE)
    parts, count = cast(tuple[NDArray[np.int32], int], ndimage.label(ndimage.binary_opening(changed)))
    if not count:
        return np.zeros(changed.shape, dtype=bool)
    largest = parts == 1 + np.argmax(np.bincount(parts.ravel())[1:])
    return np.asarray(ndimage.binary_fill_holes(ndimage.binary_closing(largest, iterations=2)), dtype=bool)


def empty_ground(image: Image) -> Image:
    """The ground of an image of one object in its middle: (H, W, 3) -> the same."""
    height, width = image.shape[:2]
    y, x = (np.mgrid[:height, :width] + 0.5) / np.array([height, width])[:, None, None] - 0.5
    powers = [x**i * y**j for i in range(_DEGREE + 1) for j in range(_DEGREE + 1 - i)]
    terms = np.stack(powers, axis=-1)
    outside = np.hypot(x, y) > _MIDDLE
    weights, *_ = np.linalg.lstsq(terms[outside], image[outside], rcond=None)
    return terms @ weights
