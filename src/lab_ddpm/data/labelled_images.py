"""Images with a label file, in the layout of i-CLEVR: `root/images/*.png` and `root/train.json`.

`train.json` is {image name: [label, ...]}. There may be masks with the same names (but always .png) in `root/masks/`:
8-bit grey, at each pixel 1 + the index of the label that is there, or 0. This module reads the official data, the
replica and the user's own multi-label images.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lab_ddpm.data.conditions import Condition, encode, load_objects, read_labels
from lab_ddpm.data.decoding import Decoded
from lab_ddpm.data.image_cache import cached_files, cached_images
from lab_ddpm.data.image_dataset import ImageDataset
from lab_ddpm.data.images import Images, Size, height_width, mask_size, read_mask
from lab_ddpm.data.metadata import METADATA_FILES
from lab_ddpm.data.names import as_on_disk, clean_label
from lab_ddpm.tools.errors import DataError, shown, some
from lab_ddpm.tools.files import is_visible, read_json

LABEL_FILE = "train.json"


def open_labelled_images(
    root: str | Path, image_size: Size, labels: Sequence[str], fit: str = "squash", with_masks: bool = False
) -> ImageDataset:
    """Check, decode (once) and open the images of `root`.

    Args:
        root: Folder with `images/` and `train.json`.
        image_size: Size of the opened images, in pixels.
        labels: The vocabulary of `train.json`.
        fit: How an image is brought to that size, as in `images.fit_image`.
        with_masks: Whether to open `masks/` too.

    Raises:
        DataError: Images or masks are missing, extra or broken, or labels are not valid; the message has a
            line for each of the first ten.
    """
    root = Path(root)
    conditions, problems = read_labels(root / LABEL_FILE, labels)
    found = image_paths(root / "images")
    conditions, twice = as_on_disk(conditions, found)
    problems += [f"{root / LABEL_FILE}: {line}" for line in twice]
    names = sorted(conditions)
    problems += compare_names(names, found)
    listed = [Path(found[name]) for name in names if name in found]
    paths = [path for path in listed if path.is_file()]
    problems += [f"{path}: must be a file, is a folder or a broken link" for path in sorted({*listed} - {*paths})]
    images, key, kinds = cached_files(root, paths, image_size, fit, problems)
    class_labels = encode([conditions[name] for name in names], labels)
    if not with_masks:
        return ImageDataset(names, images, class_labels, tuple(labels), fit, key, kinds=kinds)
    masks, masks_key = _cached_masks(root, conditions, mask_size(image_size), labels, fit)
    return ImageDataset(names, images, class_labels, tuple(labels), fit, key + masks_key, masks, kinds)


def _cached_masks(
    root: Path, conditions: Mapping[str, Condition], size: Size, labels: Sequence[str], fit: str
) -> tuple[Images, str]:
    if not (root / "masks").is_dir():
        raise DataError(f"{root / 'masks'}: no such folder of masks")
    names = sorted(conditions)
    paths = [root / "masks" / f"{Path(name).stem}.png" for name in names]
    missing = {path for path in paths if not path.is_file()}

    def decode(position: int) -> Decoded:
        if paths[position] in missing:
            raise DataError(f"{paths[position]}: no such mask")
        mask = read_mask(paths[position], size, fit)
        for value in np.unique(mask[mask > 0]):
            if value > len(labels):
                raise DataError(f"{paths[position]}: must have values up to {len(labels)}, got {value}")
            if labels[value - 1] not in conditions[names[position]]:
                raise DataError(f"{paths[position]}: shows {labels[value - 1]!r}, which {LABEL_FILE} does not list")
        return Decoded(mask, f"{mask.shape[1]} x {mask.shape[0]}", "L")

    files, shape = [path for path in paths if path not in missing], (len(names), *height_width(size), 1)
    # whether a mask is right depends on the labels too
    return cached_images(root, "masks", files, (fit, tuple(labels), sorted(conditions.items())), shape, decode)[:2]


def read_vocabulary(root: str | Path) -> tuple[str, ...]:
    """The labels of the user's own images: those of `root/objects.json` if it is there, else of `train.json`, sorted.

    Raises:
        DataError: A file is missing or of another shape.
    """
    root = Path(root)
    if (root / "objects.json").is_file():
        return load_objects(root / "objects.json")
    content = read_json(root / LABEL_FILE)
    lists: dict[str, Any] = content if isinstance(content, dict) else {}
    wrong = [
        shown(image)
        for image, names in lists.items()
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names)
    ]
    if wrong or not lists:
        which = f"; wrong for {some(wrong)}" if wrong else ""
        raise DataError(f"{root / LABEL_FILE}: must be a non-empty JSON object {{image name: list of labels}}{which}")
    labels = {clean_label(name) for names in lists.values() for name in names}
    if "" in labels:
        raise DataError(f"{root / LABEL_FILE}: must have no empty label")
    return tuple(sorted(labels))


def has_images(root: str | Path) -> bool:
    """Whether `root` has a label file and at least one image."""
    root = Path(root)
    return (root / LABEL_FILE).is_file() and any((root / "images").glob("*.png"))


def image_paths(folder: Path) -> dict[str, str]:
    """{file name: path} of all visible files in `folder` (see `files.is_visible`), except a metadata file.

    Raises:
        DataError: There is no such folder.
    """
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder of images")
    names = (path.name for path in folder.iterdir() if is_visible(path.name))
    return {name: str(folder / name) for name in names if name not in METADATA_FILES}


def compare_names(names: Iterable[str], paths: Mapping[str, str]) -> list[str]:
    """One line for every name without a file in `paths`, and one for every file whose name is not in `names`."""
    listed = set(names)
    missing, extra = sorted(listed - paths.keys()), sorted(paths.keys() - listed)
    problems = [f"{shown(name)}: listed in {LABEL_FILE}, but missing" for name in missing]
    return problems + [f"{shown(paths[name])}: not listed in {LABEL_FILE}" for name in extra]
