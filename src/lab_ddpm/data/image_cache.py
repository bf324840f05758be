"""Images and labels as arrays, decoded once.

Every data set is checked and decoded, in parallel, into a uint8 cache `FOLDER/.cache/PART-SIZE-KEY.npy`, which is then
memory-mapped. KEY is a hash of the image files. `PART.json` keeps it together with the sizes and times of the files, so
that the files are not read at each start. A checksum detects a damaged cache, which is then made again. A lock lets
one process decode while others wait. If the folder is read-only, the cache is in the user's cache folder.
"""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import numpy as np
from filelock import FileLock
from PIL import Image
from tqdm.auto import tqdm

from lab_ddpm.data.images import Images, Size, fit_image, height_width, opened_image
from lab_ddpm.tools.errors import DataError, listed
from lab_ddpm.tools.files import atomic_path, read_json, remove, sha256, write_json, write_text

if TYPE_CHECKING:
    import torch

Result = TypeVar("Result")
_CHUNK = 4096  # decoded images that may wait in memory to be written


class Decoded(NamedTuple):
    """An image, (H, W, C) uint8, and the size and the mode that its file has, such as ((640, 480), "RGB")."""

    image: Images
    size: tuple[int, int]
    mode: str


def decoded(image: Image.Image, image_size: Size, fit: str, channels: int = 3) -> Decoded:
    """An opened image in the size of the cache, see `images.fit_image`."""
    size, mode = image.size, image.mode
    return Decoded(fit_image(image, image_size, fit, channels), size, mode)


class CachedImages(NamedTuple):
    """(N, H, W, C) uint8, memory-mapped; the hash of the files and of the way they were read; sizes and modes."""

    images: Images
    key: str
    kinds: str


@dataclass(frozen=True)
class ImageDataset:
    """Images and labels in the order of the names.

    Attributes:
        names: N unique names.
        images: (N, H, W, C) uint8, memory-mapped; C = 1 or 3.
        class_labels: (N, len(labels)) float32 multi-hot.
        labels: The names of the labels; empty for images without labels.
        fit: How the images were brought to their size, as in `images.fit_image`.
        content: Hash of the image files and of the way they were read.
        masks: (N, H, W, 1) uint8, memory-mapped: at every pixel 1 + the index of the label that is there, or 0; None
            for images that were opened without masks.
        kinds: Sizes and modes of the image files, in words.
    """

    names: list[str]
    images: Images
    class_labels: torch.Tensor
    labels: tuple[str, ...]
    fit: str
    content: str
    masks: Images | None = None
    kinds: str = ""

    def __len__(self) -> int:
        return len(self.names)

    def some(self, count: int, seed: int) -> tuple[Images, torch.Tensor]:
        """Up to `count` images, chosen at random (folders are sorted by class), and their labels."""
        chosen = np.random.default_rng(seed).permutation(len(self))[:count]
        return self.images[chosen], self.class_labels[chosen]

    def some_labels(self, count: int, seed: int) -> torch.Tensor:
        """The (count, num_labels) labels of images that are drawn at random with replacement."""
        return self.class_labels[np.random.default_rng(seed).integers(len(self), size=count)]

    def fingerprint(self) -> str:
        """Hash of everything that a training run sees of the data set."""
        digest = hashlib.sha256(repr((self.content, self.names, self.labels, self.images.shape)).encode())
        digest.update(self.class_labels.numpy().tobytes())
        return digest.hexdigest()[:16]


def cached_images(
    folder: Path,
    part: str,
    files: Sequence[Path],
    settings: object,
    shape: tuple[int, int, int, int],
    decode: Callable[[int], Decoded],
) -> CachedImages:
    """The images of a cache. If the cache does not exist, it is written first.

    Args:
        folder: The folder of the data set.
        part: The part of the data set, for the name of the cache. One cache is kept for each part and size.
        files: All files that the images come from.
        settings: The way they are read.
        shape: (N, H, W, C).
        decode: Image number -> the image; raises `DataError` for a broken one. It is called in several threads.

    Raises:
        DataError: There are no images, or broken ones. The message has a line for each of the first ten.
    """
    if not shape[0]:
        raise DataError(f"{folder}: no images")
    caches, name = _cache_folder(folder), f"{part}-{shape[1]}x{shape[2]}"
    caches.mkdir(parents=True, exist_ok=True)
    with FileLock(caches / ".lock"):
        key = _content_key(files, settings, caches / f"{part}.json")
        cache = caches / f"{name}-{key}.npy"
        note = cache.with_suffix(".npy.sha256")
        kinds = _kinds_if_intact(cache, note)
        if kinds is None:
            kinds = _write(cache, shape, decode)
            write_text(note, f"{sha256(cache)}\n{kinds}\n")
        for stale in caches.glob(f"{name}-*"):
            if stale not in (cache, note):
                remove(stale)
        return CachedImages(np.load(cache, mmap_mode="r"), key, kinds)


def cached_files(folder: Path, paths: Sequence[Path], image_size: Size, fit: str) -> CachedImages:
    """`cached_images` of image files, read in colour by `images.read_image`: (N, H, W, 3) uint8."""

    def decode(position: int) -> Decoded:
        with opened_image(paths[position]) as image:
            return decoded(image, image_size, fit)

    return cached_images(folder, "train", paths, fit, (len(paths), *height_width(image_size), 3), decode)


def _write(cache: Path, shape: tuple[int, int, int, int], decode: Callable[[int], Decoded]) -> str:
    """Write a cache; returns the sizes and modes of its images, in words."""

    def attempt(position: int) -> Decoded | str:
        try:
            return decode(position)
        except DataError as error:
            return str(error)

    sizes, modes, broken = Counter[tuple[int, int]](), Counter[str](), list[str]()
    with atomic_path(cache) as temporary:
        with open(temporary, "wb") as file:
            np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": shape})
            for result in _parallel(attempt, range(shape[0]), "decoding images"):
                if isinstance(result, str):
                    broken.append(result)
                else:
                    file.write(result.image.tobytes())
                    sizes[result.size] += 1
                    modes[result.mode] += 1
        if broken:
            raise DataError(listed(broken))
    smallest, largest = (" x ".join(str(pick(sides)) for sides in zip(*sizes, strict=True)) for pick in (min, max))
    spread = f"{smallest} to {largest} ({len(sizes)} sizes)" if len(sizes) > 1 else smallest
    return f"{spread}; {', '.join(f'{mode} {count:,}' for mode, count in modes.most_common())}"


def _content_key(paths: Sequence[Path], settings: object, memory: Path) -> str:
    """Hash of the names and contents of all files, and of the way they are read. The file `memory` keeps it."""
    stats = [path.stat() for path in paths]
    # with the inode, because the folders of two classes may be swapped
    status = [(path.name, stat.st_ino, stat.st_size, stat.st_mtime_ns) for path, stat in zip(paths, stats, strict=True)]
    looks = hashlib.sha256(repr((status, settings)).encode()).hexdigest()
    with suppress(DataError, KeyError, TypeError):  # nothing is kept, or in another form
        remembered: Any = read_json(memory)
        if remembered["looks"] == looks:
            return str(remembered["key"])

    def digest(path: Path) -> bytes:
        return os.fsencode(path.name) + bytes.fromhex(sha256(path))

    parts = _parallel(digest, paths, "checking images")
    key = hashlib.sha256(b"".join([*parts, repr(settings).encode()])).hexdigest()[:16]
    write_json(memory, {"looks": looks, "key": key})
    return key


def _kinds_if_intact(cache: Path, note: Path) -> str | None:
    """The sizes and modes of a cache's images; None if it does not exist, or has changed since it was written."""
    try:
        checksum, kinds = note.read_text(encoding="utf-8").splitlines()
        return kinds if sha256(cache) == checksum else None
    except (OSError, ValueError):
        return None


def _cache_folder(folder: Path) -> Path:
    if os.access(folder, os.W_OK):
        return folder / ".cache"
    users = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return users / "lab_ddpm" / hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:16]


def _parallel(function: Callable[[Any], Result], items: Sequence[Any], description: str) -> Iterator[Result]:
    """The results in the order of the items, under a progress bar."""
    with ThreadPoolExecutor() as pool, tqdm(total=len(items), desc=description, leave=False, delay=2) as progress:
        for first in range(0, len(items), _CHUNK):
            for result in pool.map(function, items[first : first + _CHUNK]):
                progress.update()
                yield result
