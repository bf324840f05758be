"""The official i-CLEVR files in a folder or a zip file, found by their names at any depth.

A zip file is read member by member and never unpacked as a whole, so it does not matter where its paths lead to.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from threading import Lock
from zipfile import BadZipFile, ZipFile, ZipInfo

from lab_ddpm.data.iclevr import OFFICIAL_CHECKPOINT
from lab_ddpm.tools.errors import DataError, listed
from lab_ddpm.tools.files import is_visible, visible_files

IMAGE_NAME = re.compile(r"CLEVR_train_[0-9]{6}_[0-9]\.png")
_MASKS = "masks"  # the folder of masks, which have the names of their images
OTHER_NAMES = (OFFICIAL_CHECKPOINT, "objects.json", "test.json", "new_test.json", "train.json")


@dataclass(frozen=True)
class SourceFile:
    """One official file, not read yet.

    Attributes:
        name: Its name without folders.
        place: Where it is, for messages.
        size: Its size in bytes. (A zip file states it; reading never gives more.)
        read: Returns its bytes.
    """

    name: str
    place: str
    size: int
    read: Callable[[], bytes]


@contextmanager
def open_official_files(source: Path) -> Iterator[dict[str, SourceFile]]:
    """Find the official files in a folder or a zip file.

    Yields:
        The files by name, sorted, to be read within the block.

    Raises:
        DataError: `source` is neither, is broken, contains no official file, or contains two different files of one
            name (all are named).
    """
    if source.is_dir():
        paths = [path for path in visible_files(source) if path.parent.name != _MASKS]
        files = [
            SourceFile(path.name, str(path), path.stat().st_size, path.read_bytes) for path in paths if path.exists()
        ]
        yield _by_name(source, files)
    elif source.is_file():
        try:
            archive = ZipFile(source)
        except (BadZipFile, EOFError, ValueError, NotImplementedError) as error:
            raise DataError(f"{source}: must be a zip file, and is truncated or of another kind ({error})") from None
        with archive:
            yield _by_name(source, _files_in_zip(source, archive))
    else:
        raise DataError(f"{source}: no such folder or zip file")


def unopened_zips(source: Path) -> list[Path]:
    """The zip files in a folder, which are not searched; none for a zip file."""
    return [path for path in visible_files(source) if path.suffix.lower() == ".zip"] if source.is_dir() else []


def _by_name(source: Path, files: Iterable[SourceFile]) -> dict[str, SourceFile]:
    found: dict[str, SourceFile] = {}
    problems = []
    for file in files:
        if file.name in OTHER_NAMES or IMAGE_NAME.fullmatch(file.name):
            twin = found.setdefault(file.name, file)
            if twin is not file and twin.read() != file.read():
                problems.append(f"{file.place}: differs from {twin.place}; a name must not have two contents")
    if problems:
        raise DataError(listed(problems))
    if not found:
        zips = unopened_zips(source)
        hint = f"; zip files in a folder are not searched: {', '.join(map(str, zips))}" if zips else ""
        wanted = ", ".join(["CLEVR_train_SSSSSS_K.png", *OTHER_NAMES])
        raise DataError(f"{source}: must contain some of the official files {wanted}, has none{hint}")
    return {name: found[name] for name in sorted(found)}


def _files_in_zip(source: Path, archive: ZipFile) -> Iterator[SourceFile]:
    """Its files, without those that are not visible (macOS adds some)."""
    lock = Lock()  # a ZipFile counts its readers without a lock

    def read(member: ZipInfo) -> bytes:
        try:
            with lock:
                return archive.read(member)
        except (BadZipFile, EOFError, OSError, RuntimeError, ValueError, zlib.error) as error:
            raise DataError(f"{source}: {member.filename}: broken in the zip file ({error})") from None

    for member in archive.infolist():
        path = PurePosixPath(member.filename.replace("\\", "/"))  # some Windows programs write backslashes
        if not member.is_dir() and path.parent.name != _MASKS and all(map(is_visible, set(path.parts) - {".."})):
            yield SourceFile(path.name, f"{source}: {member.filename}", member.file_size, partial(read, member))
