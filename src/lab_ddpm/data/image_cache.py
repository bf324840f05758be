"""Images as arrays, decoded once.

Every data set is checked and decoded, in parallel, into a uint8 cache `FOLDER/.cache/PART-SIZE-KEY.npy`, which is then
memory-mapped. KEY is a hash of the image files. `PART.json` keeps it together with the sizes and times of the files, so
that the files are not read at each start. A checksum detects a damaged cache, which is then made again. `decoding`
says how several processes share the work. If the folder is read-only, the cache is in the user's cache folder.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
from filelock import BaseFileLock, FileLock
from tqdm.auto import tqdm

from lab_ddpm.data.decoding import Chunks, Decoded, decoded
from lab_ddpm.data.image_dataset import Kinds
from lab_ddpm.data.images import Images, Size, height_width, opened_image
from lab_ddpm.tools.errors import DataError, listed
from lab_ddpm.tools.files import TEMPORARY_PREFIX, read_json, remove, sha256, write_json, write_text

Result = TypeVar("Result")


class CachedImages(NamedTuple):
    """(N, H, W, C) uint8, memory-mapped; the hash of the files and of the way they were read; sizes and modes."""

    images: Images
    key: str
    kinds: Kinds


class _MappedImages(np.memmap):
    """The array of a cache. Pickled, it is a path, so that processes which load images get no copy of the pixels."""

    def __reduce__(self) -> Any:
        is_whole = self.filename is not None and self.offset + self.nbytes == Path(self.filename).stat().st_size
        return (_open, (self.filename,)) if is_whole else super().__reduce__()


def _open(cache: str | Path) -> Images:
    return np.load(cache, mmap_mode="r").view(_MappedImages)


def cached_images(
    folder: Path,
    part: str,
    files: Sequence[Path],
    settings: object,
    shape: tuple[int, int, int, int],
    decode: Callable[[int], Decoded],
    problems: Sequence[str] = (),
) -> CachedImages:
    """The images of a cache. If the cache does not exist, it is written first.

    Args:
        folder: The folder of the data set.
        part: The part of the data set, for the name of the cache. One cache is kept for each part and size.
        files: All files that the images come from.
        settings: The way they are read.
        shape: (N, H, W, C).
        decode: Image number -> the image; raises `DataError` for a broken one.
        problems: One line for each problem that is already known.

    Raises:
        DataError: There are `problems` or broken images. The message has a line for each of the first ten.
    """
    caches, name = _cache_folder(folder), f"{part}-{shape[1]}x{shape[2]}"
    caches.mkdir(parents=True, exist_ok=True)
    lock = FileLock(caches / ".lock")
    with lock:
        key = _content_key(files, settings, caches / f"{part}.json")
        cache = caches / f"{name}-{key}.npy"
        kinds = _kinds_if_intact(cache)
        if kinds is None:
            remove(cache)
    if problems or kinds is None:
        kinds = _write(Chunks(caches / f"{TEMPORARY_PREFIX}{name}-{key}", cache, shape), decode, problems, lock)
    with lock:
        for stale in [*caches.glob(f"{name}-*"), *caches.glob(f"{TEMPORARY_PREFIX}{name}-*")]:
            if stale not in (cache, _note_of(cache)):
                remove(stale)
        return CachedImages(_open(cache), key, kinds)


def _write(chunks: Chunks, decode: Callable[[int], Decoded], problems: Sequence[str], lock: BaseFileLock) -> Kinds:
    """Write a cache and its note; returns the sizes and modes of its images."""
    if not chunks.shape[0]:
        raise DataError(listed(problems) or f"{chunks.target.parent.parent}: no images")
    broken = chunks.decode(decode)  # without the lock, so that other processes share the work
    if problems or broken:
        raise DataError(listed([*problems, *broken]))
    with lock:
        kinds = _kinds_if_intact(chunks.target)  # another process may have joined the chunks
        if kinds is None:
            kinds = chunks.join()
            write_text(_note_of(chunks.target), f"{sha256(chunks.target)}\n{json.dumps(kinds._asdict())}\n")
    return kinds


def cached_files(
    folder: Path, paths: Sequence[Path], image_size: Size, fit: str, problems: Sequence[str] = ()
) -> CachedImages:
    """`cached_images` of image files, read in colour by `images.read_image`: (N, H, W, 3) uint8."""

    def decode(position: int) -> Decoded:
        with opened_image(paths[position]) as image:
            return decoded(image, image_size, fit)

    return cached_images(folder, "train", paths, fit, (len(paths), *height_width(image_size), 3), decode, problems)


def _content_key(paths: Sequence[Path], settings: object, memory: Path) -> str:
    """Hash of the names and contents of all files, and of the way they are read. The file `memory` keeps it."""
    stats = [path.stat() for path in paths]
    # with the inode, because the folders of two classes may be swapped
    status = [(path.name, stat.st_ino, stat.st_size, stat.st_mtime_ns) for path, stat in zip(paths, stats, strict=True)]
    status_hash = hashlib.sha256(repr((status, settings)).encode()).hexdigest()
    with suppress(DataError, KeyError, TypeError):  # nothing is kept, or in another form
        remembered: Any = read_json(memory)
        if remembered["status_hash"] == status_hash:
            return str(remembered["key"])

    def digest(path: Path) -> bytes:
        return os.fsencode(path.name) + bytes.fromhex(sha256(path))

    parts = _parallel(digest, paths, "checking images")
    key = hashlib.sha256(b"".join([*parts, repr(settings).encode()])).hexdigest()[:16]
    write_json(memory, {"status_hash": status_hash, "key": key})
    return key


def _note_of(cache: Path) -> Path:
    """The file with the checksum of a cache, and with the sizes and modes of its images."""
    return cache.with_suffix(".npy.sha256")


def _kinds_if_intact(cache: Path) -> Kinds | None:
    """The sizes and modes of a cache's images; None if it does not exist, or has changed since it was written."""
    try:
        checksum, kinds = _note_of(cache).read_text(encoding="utf-8").splitlines()
        return Kinds(**json.loads(kinds)) if sha256(cache) == checksum else None
    except (OSError, TypeError, ValueError):
        return None


def _cache_folder(folder: Path) -> Path:
    if os.access(folder, os.W_OK):
        return folder / ".cache"
    users = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return users / "lab_ddpm" / hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:16]


def _parallel(function: Callable[..., Result], items: Sequence[object], description: str) -> list[Result]:
    with ThreadPoolExecutor() as pool:
        return list(tqdm(pool.map(function, items), total=len(items), desc=description, leave=False, delay=2))
