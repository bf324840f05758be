"""Every data set by name, as `PictureDataset`."""

from __future__ import annotations

from pathlib import Path

from lab_ddpm.errors import check_choice
from lab_ddpm.labelled_pictures import open_labelled_pictures
from lab_ddpm.picture_cache import PictureDataset
from lab_ddpm.picture_folder import open_folder
from lab_ddpm.torchvision_data import TORCHVISION_DATASETS, open_torchvision

DATASETS = ("iclevr", *TORCHVISION_DATASETS, "folder")


def open_dataset(dataset: str, root: str | Path, image_size: int) -> PictureDataset:
    """Check, decode (once) and open the training pictures of a data set.

    Args:
        dataset: One of `DATASETS`.
        root: Its folder.
        image_size: Height and width to read the pictures at, in pixels.

    Raises:
        UserError: An unknown data set.
        DataError: Pictures or labels that are missing or broken; all of them are named.
    """
    check_choice("dataset", dataset, DATASETS)
    if dataset == "iclevr":
        return open_labelled_pictures(root, image_size)
    if dataset == "folder":
        return open_folder(root, image_size)
    return open_torchvision(dataset, root, image_size)
