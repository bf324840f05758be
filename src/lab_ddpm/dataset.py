"""A folder of pictures with a label file, as arrays that an epoch can read without decoding anything.

The layout is the official one, and the replica has it too: `root/images/*.png` and `root/train.json`
({picture name: [objects]}). All pictures are checked and decoded once, in parallel, into a uint8 cache
`root/.cache/SIZE-KEY.npy` whose key is a hash of the picture files themselves; afterwards it is memory-mapped.
A read-only `root` has its cache in the user's own cache folder.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from tqdm.auto import tqdm

from lab_ddpm.conditions import OBJECTS, encode, read_labels
from lab_ddpm.errors import DataError
from lab_ddpm.files import atomic_path, lock, remove, remove_leftovers
from lab_ddpm.images import Pictures, read_picture

Result = TypeVar("Result")


@dataclass(frozen=True)
class PictureDataset:
    """Pictures and labels in the order of the names.

    Attributes:
        names: N file names, sorted.
        pictures: (N, S, S, 3) uint8, memory-mapped.
        class_labels: (N, num_labels) float32 multi-hot.
    """

    names: list[str]
    pictures: Pictures
    class_labels: torch.Tensor

    def __len__(self) -> int:
        return len(self.names)


def open_dataset(root: str | Path, image_size: int, labels: Sequence[str] = OBJECTS) -> PictureDataset:
    """Check, decode (once) and open the pictures of `root`.

    Args:
        root: Folder with `images/` and `train.json`.
        image_size: Height and width to read the pictures at, in pixels.
        labels: The vocabulary of `train.json`.

    Raises:
        DataError: Missing, extra or broken pictures, or labels that are not valid; all of them are named.
    """
    root = Path(root)
    conditions, problems = read_labels(root / "train.json", labels)
    names = sorted(conditions)
    problems += compare_names(root / "images", names)
    paths = [path for name in names if (path := root / "images" / name).is_file()]
    cache = _cache_folder(root) / f"{image_size}-{_content_key(paths)}.npy"
    if problems or not cache.is_file():
        _decode_all(paths, image_size, cache, problems)
    return PictureDataset(
        names=names,
        pictures=np.load(cache, mmap_mode="r"),
        class_labels=encode([conditions[name] for name in names], labels),
    )


def has_pictures(root: str | Path) -> bool:
    """Whether `root` holds a complete-looking data set: a label file and at least one picture."""
    root = Path(root)
    return (root / "train.json").is_file() and any((root / "images").glob("*.png"))


def compare_names(folder: Path, names: Iterable[str]) -> list[str]:
    """One line for every listed picture that is missing, and for every picture that is not listed.

    Raises:
        DataError: There is no such folder.
    """
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder of pictures")
    listed = set(names)
    present = {path.name for path in folder.iterdir() if not path.name.startswith(".")}
    problems = [f"{folder / name}: listed in train.json, but missing" for name in sorted(listed - present)]
    return problems + [f"{folder / name}: not listed in train.json" for name in sorted(present - listed)]


def _cache_folder(root: Path) -> Path:
    """`root/.cache`; the user's own cache folder where `root` is read-only, as shared data sets often are."""
    if os.access(root, os.W_OK):
        return root / ".cache"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "lab_ddpm"


def _decode_all(paths: Sequence[Path], image_size: int, cache: Path, problems: Sequence[str]) -> None:
    """Write the cache, or raise `DataError` with `problems` and a line for every picture that is broken."""
    with lock(cache.parent):  # the second of two runs waits for the first one's cache
        remove_leftovers(cache.parent)
        if problems or not cache.is_file():
            _write_cache(paths, image_size, cache, problems)
    for stale in cache.parent.glob(f"{image_size}-*.npy"):
        if stale != cache:
            remove(stale)


def _write_cache(paths: Sequence[Path], image_size: int, cache: Path, problems: Sequence[str]) -> None:
    with atomic_path(cache) as temporary:
        shape = (len(paths), image_size, image_size, 3)
        pictures = np.lib.format.open_memmap(temporary, mode="w+", dtype=np.uint8, shape=shape)
        with open(temporary, "rb+") as file:  # writing a memory map to a full disk would kill the process
            os.posix_fallocate(file.fileno(), 0, temporary.stat().st_size)

        def decode(position: int) -> str | None:
            try:
                pictures[position] = read_picture(paths[position], image_size)
            except DataError as error:
                return str(error)

        broken = [line for line in _parallel(decode, range(len(paths)), "decoding pictures") if line]
        if problems or broken:
            raise DataError("\n".join([*problems, *broken]))
        pictures.flush()


def _content_key(paths: Sequence[Path]) -> str:
    """Hash of the names and the bytes of all pictures."""

    def digest(path: Path) -> bytes:
        return path.name.encode() + hashlib.sha256(path.read_bytes()).digest()

    return hashlib.sha256(b"".join(_parallel(digest, paths, "checking pictures"))).hexdigest()[:16]


def _parallel(function: Callable[..., Result], items: Sequence[object], description: str) -> list[Result]:
    with ThreadPoolExecutor() as pool:
        return list(tqdm(pool.map(function, items), total=len(items), desc=description, leave=False, delay=2))
