"""Pictures and labels as arrays that an epoch can read without decoding anything.

Every data set is checked and decoded once, in parallel, into a uint8 cache `FOLDER/.cache/PART-SIZE-KEY.npy` whose key
is a hash of the picture files themselves; afterwards it is memory-mapped. A read-only folder has its cache in the
user's own cache folder.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from tqdm.auto import tqdm

from lab_ddpm.errors import DataError
from lab_ddpm.files import atomic_path, lock, remove, remove_leftovers
from lab_ddpm.images import Pictures, read_picture

Result = TypeVar("Result")


@dataclass(frozen=True)
class PictureDataset:
    """Pictures and labels in the order of the names.

    Attributes:
        names: N names, unique.
        pictures: (N, S, S, C) uint8, memory-mapped; C = 1 or 3.
        class_labels: (N, len(labels)) float32 multi-hot.
        labels: The names of the labels; empty for pictures without labels.
        fit: How they became square, as in `images.fit_picture`.
    """

    names: list[str]
    pictures: Pictures
    class_labels: torch.Tensor
    labels: tuple[str, ...]
    fit: str

    def __len__(self) -> int:
        return len(self.names)

    def fingerprint(self) -> str:
        """Hash of everything that a training sees of it."""
        digest = hashlib.sha256(repr((self.names, self.labels, self.pictures.shape)).encode())
        digest.update(self.class_labels.numpy().tobytes())
        for start in range(0, len(self), 4096):
            digest.update(self.pictures[start : start + 4096].tobytes())
        return digest.hexdigest()[:16]


def cached_pictures(
    folder: Path,
    part: str,
    key: str,
    shape: tuple[int, int, int, int],
    decode: Callable[[int], Pictures],
    problems: Sequence[str] = (),
) -> Pictures:
    """The cache of a data set, written first where it is not there yet.

    Args:
        folder: The folder of the data set.
        part: Which part of it, for the cache's name: of each part and size the newest cache is kept.
        key: From `content_key`.
        shape: (N, S, S, C).
        decode: Picture number -> (S, S, C) uint8; raises `DataError` for a broken one.
        problems: What is already known to be wrong, one line each.

    Returns:
        (N, S, S, C) uint8, memory-mapped.

    Raises:
        DataError: With `problems` and a line for every picture that is broken.
    """
    cache = _cache_folder(folder) / f"{part}-{shape[1]}-{key}.npy"
    if problems or not cache.is_file():
        with lock(cache.parent):  # the second of two runs waits for the first one's cache
            remove_leftovers(cache.parent)
            if problems or not cache.is_file():
                _write(cache, shape, decode, problems)
        for stale in cache.parent.glob(f"{part}-{shape[1]}-*.npy"):
            if stale != cache:
                remove(stale)
    return np.load(cache, mmap_mode="r")


def cached_files(
    folder: Path, paths: Sequence[Path], image_size: int, fit: str, problems: Sequence[str] = ()
) -> Pictures:
    """`cached_pictures` of picture files, read in colour as `images.read_picture` does it: (N, S, S, 3) uint8."""
    return cached_pictures(
        folder,
        "train",
        content_key(paths, fit),
        (len(paths), image_size, image_size, 3),
        lambda position: read_picture(paths[position], image_size, fit),
        problems,
    )


def content_key(paths: Sequence[Path], *settings: object) -> str:
    """Hash of the names and the bytes of all files, and of how they are read."""

    def digest(path: Path) -> bytes:
        return path.name.encode() + hashlib.sha256(path.read_bytes()).digest()

    parts = _parallel(digest, paths, "checking pictures")
    return hashlib.sha256(b"".join([*parts, repr(settings).encode()])).hexdigest()[:16]


def _cache_folder(folder: Path) -> Path:
    if os.access(folder, os.W_OK):
        return folder / ".cache"
    users = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return users / "lab_ddpm" / hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:16]


def _write(
    cache: Path, shape: tuple[int, int, int, int], decode: Callable[[int], Pictures], problems: Sequence[str]
) -> None:
    if not shape[0]:
        raise DataError("\n".join(problems) or f"{cache.parent.parent}: no pictures")
    with atomic_path(cache) as temporary:
        pictures = np.lib.format.open_memmap(temporary, mode="w+", dtype=np.uint8, shape=shape)
        with open(temporary, "rb+") as file:  # a memory map that meets a full disk later would kill the process
            file.seek(-pictures.nbytes, os.SEEK_END)
            for picture in pictures:
                file.write(bytes(picture.nbytes))

        def attempt(position: int) -> str | None:
            try:
                pictures[position] = decode(position)
            except DataError as error:
                return str(error)

        broken = [line for line in _parallel(attempt, range(shape[0]), "decoding pictures") if line]
        if problems or broken:
            raise DataError("\n".join([*problems, *broken]))
        pictures.flush()


def _parallel(function: Callable[..., Result], items: Sequence[object], description: str) -> list[Result]:
    with ThreadPoolExecutor() as pool:
        return list(tqdm(pool.map(function, items), total=len(items), desc=description, leave=False, delay=2))
