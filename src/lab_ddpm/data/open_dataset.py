"""Opening a data set by its name, as an `ImageDataset`."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import partial
from pathlib import Path

from lab_ddpm.data.hub_data import open_hub
from lab_ddpm.data.iclevr import OBJECTS
from lab_ddpm.data.image_dataset import ImageDataset
from lab_ddpm.data.image_folder import PARTS, open_folder
from lab_ddpm.data.images import Size
from lab_ddpm.data.labelled_images import open_labelled_images
from lab_ddpm.data.torchvision_data import TORCHVISION_DATASETS, open_torchvision
from lab_ddpm.tools.errors import UserError, check_choice, renaming

# Height and width in pixels, as in the presets.
IMAGE_SIZES = {"iclevr": 64, "mnist": 32, "fashion_mnist": 32, "cifar10": 32, "flowers102": 64, "folder": 64, "hub": 64}
DATASETS = tuple(IMAGE_SIZES)
_GREY = {"1", "L", "LA", "La", "I", "I;16", "I;16B", "I;16L", "I;16N", "F"}  # modes of Pillow
_OPENERS: dict[str, Callable[..., ImageDataset]] = {
    "iclevr": partial(open_labelled_images, labels=OBJECTS),
    "folder": open_folder,
    "hub": open_hub,
    **{name: partial(open_torchvision, name) for name in TORCHVISION_DATASETS},
}


def open_dataset(
    dataset: str, root: str | Path, image_size: Size, with_masks: bool = False, **options: str
) -> ImageDataset:
    """Check, decode (once) and open the training images of a data set.

    Your own images (of a folder, or from the Hub) have one channel if every file is grey, else three.

    Args:
        dataset: One of `DATASETS`.
        root: Its folder; for "hub" also its name.
        image_size: Size of the opened images, in pixels.
        with_masks: Whether to open the masks too.
        options: For "hub": the other arguments of `open_hub`.

    Raises:
        UserError: The data set has no masks, or an option does not fit it.
        DataError: Images, labels or masks are missing or broken; the message has a line for each of the
            first ten.
    """
    if with_masks and dataset in (*TORCHVISION_DATASETS, "hub"):
        raise UserError(f"`with_masks` needs masks, and {dataset!r} has none")
    images = _OPENERS[dataset](root, image_size, **{"with_masks": True} if with_masks else {}, **options)
    if dataset in ("folder", "hub") and images.kinds.modes.keys() <= _GREY:
        return dataclasses.replace(images, images=images.images[..., :1])
    return images


def open_training_images(
    dataset: str, root: str | Path, image_size: Size, conditional: bool, with_masks: bool = False, **options: str
) -> ImageDataset:
    """As `open_dataset`, but for training: without labels if the model is unconditional.

    Raises:
        UserError: The model is conditional, and the images have no labels.
    """
    images = open_dataset(dataset, root, image_size, with_masks, **options)
    if conditional and not images.labels:
        raise UserError(f"`conditional` must be false for the images in {root}, which have no labels")
    if not conditional:
        return dataclasses.replace(images, labels=(), class_labels=images.class_labels[:, :0])
    return images


def open_held_out(
    dataset: str, root: str | Path, held_out: str | Path | None, image_size: Size, **options: str
) -> ImageDataset:
    """Open images that are never trained on: the test part of a torchvision data set, another split, or another folder.

    Args:
        dataset: One of `DATASETS`.
        root: Its folder; for "hub" also its name.
        held_out: For "iclevr" and "folder", another folder; for "hub", a split; None for torchvision's.
        image_size: Size of the opened images, in pixels.
        options: As for `open_dataset`.

    Raises:
        UserError: There is a folder although the data set has a test part, or neither; or it is that of the training
            images.
        DataError: Images or labels are missing or broken; the message has a line for each of the
            first ten.
    """
    check_choice("dataset", dataset, DATASETS)
    if dataset in TORCHVISION_DATASETS:
        if held_out is not None:
            raise UserError(f"`held_out` must not be given for {dataset!r}, which has a test part")
        return open_torchvision(dataset, root, image_size, held_out=True)
    is_hub = dataset == "hub"
    wanted = f"{'split' if is_hub else 'folder'} of images that were not trained on"
    if held_out is None:
        raise UserError(f"`held_out` must be given for {dataset!r}: a {wanted}")
    if is_hub:
        is_same = str(held_out) == options.get("split", "train")
    else:
        is_same = Path(held_out).resolve() == Path(root).resolve()
    if is_same:
        raise UserError(f"`held_out` must be another {wanted}, got {str(held_out)!r}")
    if is_hub:
        with renaming({"split": "held_out"}):
            return open_dataset(dataset, root, image_size, False, **{**options, "split": str(held_out)})
    return open_dataset(dataset, held_out, image_size)


def short_name(dataset: str, root: str | Path) -> str:
    """The name for files about a data set: its own, or the last part of its root (`flowers` for flowers/train)."""
    if dataset not in ("folder", "hub"):
        return dataset
    folder = Path(root).resolve()
    return folder.parent.name if folder.name.lower() in PARTS else folder.name
