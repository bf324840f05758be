"""Masks for the official images, which come without them: where each object is, found from differences of images.

Image k of a scene is image k - 1 with one more object, the last of its labels. The new object is where the colour
changed: a shadow changes the brightness alone. Where the object has the colour of what was there before, such as a
gray one on the gray ground, it is where the brightness changed much. Image 0 is compared with an estimate of its empty
ground: a polynomial that is fitted to the image outside its middle, where the first object stands.
"""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from tqdm.auto import tqdm

from lab_ddpm.data.conditions import Condition, load_labels
from lab_ddpm.data.iclevr import OBJECTS
from lab_ddpm.data.images import read_image, write_png
from lab_ddpm.data.labelled_images import LABEL_FILE
from lab_ddpm.tools.errors import DataError, shown
from lab_ddpm.tools.worker_pool import available_cores, worker_pool

_WIDTH, _HEIGHT = 320, 240  # of the official images
_COLOUR_CHANGE = 6.0  # of 255, beyond that of a shadow
_BRIGHTNESS_CHANGE = 12.0  # of 255
_COLOUR_OF_VALUE = np.array(["gray", *(name.split()[0] for name in OBJECTS)])  # the ground's is gray
_LARGEST = 0.3  # share of an image that an object may cover
_MOST_LOST = 0.5  # share of the images; an object may be hidden by others
_DEGREE = 3  # of the polynomial
_MIDDLE = 0.17  # radius around the first object, as a share of the image

Image = NDArray[np.floating[Any]]


def write_masks(root: Path) -> int:
    """Write the masks that `root/masks/` lacks for the images of `root/train.json`.

    Existing masks are kept.

    Returns:
        How many were written.

    Raises:
        DataError: An image is broken or missing, its labels are not those of the image before plus one, or the newest
            object is not found in many images.
    """
    scenes: defaultdict[str, dict[str, Condition]] = defaultdict(dict)
    for name, condition in sorted(load_labels(root / LABEL_FILE, OBJECTS).items()):
        if Path(name).name != name:
            raise DataError(f"{LABEL_FILE}, {shown(name)}: must be the name of a file, without a folder")
        scene = scenes[name.rsplit("_", 1)[0]]
        if condition[:-1] != next(reversed(scene.values()), ()):
            raise DataError(f"{LABEL_FILE}, {name}: must show one object more than the image before, got {condition}")
        scene[name] = condition
    lacking = [scene for scene in scenes.values() if any(not (root / "masks" / name).exists() for name in scene)]
    if not lacking:
        return 0
    with worker_pool(min(available_cores(), len(lacking))) as pool:
        jobs = [pool.submit(_write_scene, root, scene) for scene in lacking]
        try:
            written = {
                name: is_found for job in tqdm(jobs, desc="masks", unit="scene") for name, is_found in job.result()
            }
        finally:
            pool.shutdown(cancel_futures=True)
    lost = [name for name, is_found in written.items() if not is_found]
    if len(lost) > _MOST_LOST * len(written):
        raise DataError(
            f"{root / 'images'}: in {len(lost)} of {len(written)} images, such as {lost[0]}, the newest object was not "
            f"found; they must be colour images, each with one object more. Delete {root / 'masks'} before the next try"
        )
    return len(written)


def _write_scene(root: Path, labels: dict[str, Condition]) -> list[tuple[str, bool]]:
    """The names of the masks that were written, and whether each shows its newest object, at a plausible size."""
    written = []
    for name, mask in scene_masks(root / "images", labels).items():
        if not (root / "masks" / name).exists():
            write_png(root / "masks" / name, mask[..., None])
            share = (mask == OBJECTS.index(labels[name][-1]) + 1).mean()
            written.append((name, 0 < share < _LARGEST))
    return written


def scene_masks(images: Path, labels: dict[str, Condition]) -> dict[str, NDArray[np.uint8]]:
    """Masks of the images of one scene, in their order.

    Returns:
        (240, 320) each: an object's index in `OBJECTS` + 1, and 0 for the ground.

    Raises:
        DataError: An image is broken or missing.
    """
    masks = {}
    mask = np.zeros((_HEIGHT, _WIDTH), dtype=np.uint8)
    before = None
    for name, condition in labels.items():
        image = read_image(images / name, (_HEIGHT, _WIDTH)).astype(float)
        is_alike = _COLOUR_OF_VALUE[mask] == condition[-1].split()[0]
        new = new_object(empty_ground(image) if before is None else before, image, is_alike)
        mask[new] = OBJECTS.index(condition[-1]) + 1
        masks[name] = mask.copy()
        before = image
    return masks


def new_object(before: Image, after: Image, is_alike: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Where the new object of `after` is.

    Args:
        before, after: (H, W, 3) in [0, 255].
        is_alike: (H, W): where the object has the colour of what was there before.

    Returns:
        (H, W) bool. A gray object may take a part of its shadow.
    """
    shade = (before * after).sum(axis=-1) / np.maximum((before * before).sum(axis=-1), 1)
    colour_change = np.abs(after - shade[..., None] * before).max(axis=-1)
    changed = (colour_change > _COLOUR_CHANGE) | (is_alike & (np.abs(after - before).max(axis=-1) > _BRIGHTNESS_CHANGE))
    parts, count = cast(tuple[NDArray[np.int32], int], ndimage.label(ndimage.binary_opening(changed)))
    if not count:
        return np.zeros(changed.shape, dtype=bool)
    largest = parts == 1 + np.argmax(np.bincount(parts.ravel())[1:])
    return np.asarray(ndimage.binary_fill_holes(ndimage.binary_closing(largest, iterations=2)), dtype=bool)


def empty_ground(image: Image) -> Image:
    """The ground without the one object in the middle of the image: (H, W, 3) -> (H, W, 3)."""
    height, width = image.shape[:2]
    y, x = (np.mgrid[:height, :width] + 0.5) / np.array([height, width])[:, None, None] - 0.5
    powers = [x**i * y**j for i in range(_DEGREE + 1) for j in range(_DEGREE + 1 - i)]
    terms = np.stack(powers, axis=-1)
    outside = np.hypot(x, y) > _MIDDLE
    weights, *_ = np.linalg.lstsq(terms[outside], image[outside], rcond=None)
    return terms @ weights
