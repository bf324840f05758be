"""MNIST, Fashion-MNIST, CIFAR-10 and Flowers102, downloaded and read by torchvision's classes.

torchvision checks the hash of every downloaded file, and opens the batches of CIFAR-10, which are pickles, only after
that check. If Debian's package `dataset-fashion-mnist` is installed, its files are used and nothing is downloaded.
"""

from __future__ import annotations

import gzip
import http.client
import shutil
import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torchvision import datasets

from lab_ddpm.data.decoding import Decoded, decoded
from lab_ddpm.data.image_cache import cached_images
from lab_ddpm.data.image_dataset import ImageDataset
from lab_ddpm.data.images import Size, height_width, naming_broken_images
from lab_ddpm.tools.errors import DataError
from lab_ddpm.tools.files import atomic_path, visible_files

DEBIAN_FASHION_MNIST = Path("/usr/share/datasets/fashion-mnist")
_IDX_FILES = tuple(f"{part}-{kind}-ubyte" for part in ("train", "t10k") for kind in ("images-idx3", "labels-idx1"))


@dataclass(frozen=True)
class _Source:
    """How to read a data set with its torchvision class.

    Attributes:
        make: (root, split) -> a torchvision data set, which downloads missing files.
        training, held_out: The splits to train on and to hold out.
        folder: Where the class keeps its files, below the root.
        files: The files that a user without a network connection must put there.
        channels: 1 or 3.
        fit: As in `images.fit_image`.
        targets: The attribute that holds the classes.
    """

    make: Callable[[Path, str], Any]
    training: tuple[str, ...]
    held_out: tuple[str, ...]
    folder: str
    files: str
    channels: int
    fit: str
    targets: str = "targets"


def _by_train(dataset: Callable[..., Any]) -> Callable[[Path, str], Any]:
    return lambda root, split: dataset(root, train=split == "train", download=True)


_IDX = ", ".join(f"{name}.gz" for name in _IDX_FILES)
_CIFAR10 = "data_batch_1 ... data_batch_5, test_batch and batches.meta (from cifar-10-python.tar.gz)"
_SOURCES = {
    "mnist": _Source(_by_train(datasets.MNIST), ("train",), ("test",), "MNIST/raw", _IDX, 1, "pad"),
    "fashion_mnist": _Source(
        _by_train(datasets.FashionMNIST), ("train",), ("test",), "FashionMNIST/raw", _IDX, 1, "pad"
    ),
    "cifar10": _Source(_by_train(datasets.CIFAR10), ("train",), ("test",), "cifar-10-batches-py", _CIFAR10, 3, "crop"),
    # The official training part is the smallest of the three, so a generative model is trained on the large one too.
    "flowers102": _Source(
        lambda root, split: datasets.Flowers102(root, split=split, download=True),
        ("train", "test"),
        ("val",),
        "flowers-102",
        "102flowers.tgz (unpacked: jpg/), imagelabels.mat, setid.mat",
        3,
        "crop",
        targets="_labels",
    ),
}
TORCHVISION_DATASETS = tuple(_SOURCES)


def open_torchvision(name: str, root: str | Path, image_size: Size, held_out: bool = False) -> ImageDataset:
    """Download (if needed), decode (once) and open a data set.

    Args:
        name: One of `TORCHVISION_DATASETS`.
        root: The folder to pass to torchvision's class.
        image_size: Size of the opened images. The 28 x 28 digits and clothes are padded with black. Photographs are
            cropped to the central part with these proportions, then resized.
        held_out: Open the part that is never trained on instead of the training part.

    Raises:
        DataError: The files are missing and cannot be downloaded, or are broken; the message says what to put where.
    """
    source, root = _SOURCES[name], Path(root)
    folder = root / source.folder
    splits = source.held_out if held_out else source.training
    if name == "fashion_mnist":
        _take_debian_files(folder, DEBIAN_FASHION_MNIST)
    try:
        parts = [source.make(root, split) for split in splits]
    except (
        RuntimeError,
        OSError,
        ValueError,
        AssertionError,
        EOFError,
        http.client.HTTPException,
        tarfile.TarError,
    ) as e:
        reason = " ".join(str(e).split()) or type(e).__name__
        raise DataError(
            f"{name}: could not be read or downloaded ({reason}). Put {source.files} into {folder}, replacing broken "
            "files, and start again"
        ) from None
    entries = [(part, index) for part in parts for index in range(len(part))]

    def decode(position: int) -> Decoded:
        part, index = entries[position]
        with naming_broken_images(names[position]):
            return decoded(part[index][0], image_size, source.fit, source.channels)

    names = [f"{split}/{index}" for split, part in zip(splits, parts, strict=True) for index in range(len(part))]
    files = [path for path in visible_files(folder) if path.suffix not in (".gz", ".tgz")]
    images, key, kinds = cached_images(
        folder,
        "-".join(splits),
        files,
        (name, splits, source.fit),
        (len(entries), *height_width(image_size), source.channels),
        decode,
    )
    labels = tuple(parts[0].classes)
    targets = torch.cat([torch.as_tensor(getattr(part, source.targets)) for part in parts])
    class_labels = torch.nn.functional.one_hot(targets.long(), len(labels)).float()
    return ImageDataset(names, images, class_labels, labels, source.fit, key, kinds=kinds)


def _take_debian_files(folder: Path, package: Path) -> None:
    """Unpack the files of Debian's package into `folder`, if it is installed and the files are not yet there."""
    for name in _IDX_FILES:
        packed = package / f"{name}.gz"
        if packed.is_file() and not (folder / name).is_file():
            with atomic_path(folder / name) as temporary, gzip.open(packed) as source, open(temporary, "wb") as file:
                shutil.copyfileobj(source, file)
