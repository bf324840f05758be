"""The official i-CLEVR files in a folder or a zip file, found by their names at any depth.

A zip file is not trusted. It is refused if a member could be written outside the folder that it is unpacked to
(absolute paths, `..`, drive letters, links) or could fill the disk. It is read member by member, never unpacked as a
whole.
"""

from __future__ import annotations

import os
import re
import stat
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from threading import Lock
from zipfile import BadZipFile, ZipFile, ZipInfo

from lab_ddpm.evaluation.classifiers import OFFICIAL_CHECKPOINT
from lab_ddpm.tools.errors import DataError

IMAGE_NAME = re.compile(r"CLEVR_train_[0-9]{6}_[0-9]\.png")
LISTS = ("objects.json", "test.json", "new_test.json", "train.json")

# Far above the official sizes (about 0.1, 1 and 45 MB per file, 2 GB in all), far below the size of a disk.
_MAX_BYTES = {".png": 2**25, ".json": 2**25, ".pth": 2**30}
_MAX_ZIP_BYTES = 20 * 10**9


@dataclass(frozen=True)
class SourceFile:
    """One official file that has not been read yet.

    Attributes:
        name: Its name without folders.
        place: Where it is, for messages.
        size: Bytes (of a zip member: as declared; reading never gives more).
        read: Returns its bytes, or raises `DataError`.
    """

    name: str
    place: str
    size: int
    read: Callable[[], bytes]


@dataclass(frozen=True)
class OfficialFiles:
    """The official files that were found.

    Attributes:
        images: The `CLEVR_train_SSSSSS_K.png` by name, sorted.
        others: The JSON lists and the classifier's checkpoint by name, `train.json` last.
        unopened: Zip files next to them, which are not searched.
    """

    images: dict[str, SourceFile]
    others: dict[str, SourceFile]
    unopened: list[Path]


@contextmanager
def open_official_files(source: Path) -> Iterator[OfficialFiles]:
    """Find the official files in `source`, a folder or a zip file; they can be read within the block.

    Raises:
        DataError: `source` is neither, is broken or unsafe, contains no official file, or contains two different files
            with the same name (all are named).
    """
    if source.is_dir():
        files, zips = _files_in_folder(source)
        yield _sort_out(source, files, zips)
    elif source.is_file():
        with _open_zip(source) as archive:
            yield _sort_out(source, _files_in_zip(source, archive), [])
    else:
        raise DataError(f"{source}: no such folder or zip file")


def _sort_out(source: Path, files: Iterable[SourceFile], zips: list[Path]) -> OfficialFiles:
    found: dict[str, SourceFile] = {}
    problems = []
    for file in files:
        limit = _MAX_BYTES[PurePosixPath(file.name).suffix]
        if file.size > limit:
            problems.append(f"{file.place}: must be at most {limit} bytes long, got {file.size}")
            continue
        twin = found.setdefault(file.name, file)
        if twin is not file and twin.read() != file.read():
            problems.append(f"{file.place}: differs from {twin.place}, which has the same name; keep only one of them")
    if problems:
        raise DataError("\n".join(problems))
    if not found:
        wanted = ", ".join(["CLEVR_train_SSSSSS_K.png", *LISTS, OFFICIAL_CHECKPOINT])
        hint = f"; zip files in a folder are not searched: {', '.join(map(str, zips))}" if zips else ""
        raise DataError(f"{source}: must contain some of the official files {wanted}, but has none{hint}")
    return OfficialFiles(
        images={name: found[name] for name in sorted(found) if IMAGE_NAME.fullmatch(name)},
        others={name: found[name] for name in (OFFICIAL_CHECKPOINT, *LISTS) if name in found},
        unopened=zips,
    )


def _is_official(path: PurePosixPath) -> bool:
    """Whether the name is an official one, and no part of the path is hidden or made by macOS."""
    if any(part.startswith(".") or part == "__MACOSX" for part in path.parts):
        return False
    return bool(IMAGE_NAME.fullmatch(path.name)) or path.name in (OFFICIAL_CHECKPOINT, *LISTS)


def _files_in_folder(source: Path) -> tuple[list[SourceFile], list[Path]]:
    files, zips = [], []
    for folder, _, names in sorted(os.walk(source)):
        for name in sorted(names):
            path = Path(folder, name)
            if path.suffix.lower() == ".zip":
                zips.append(path)
            elif _is_official(PurePosixPath(path.relative_to(source).as_posix())) and path.is_file():
                files.append(SourceFile(name, str(path), path.stat().st_size, partial(_read_file, path)))
    return files, zips


def _read_file(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from None


def _open_zip(source: Path) -> ZipFile:
    try:
        return ZipFile(source)
    except (BadZipFile, EOFError, ValueError, NotImplementedError) as error:
        raise DataError(f"{source}: must be a zip file, but is truncated or of another kind ({error})") from None


def _files_in_zip(source: Path, archive: ZipFile) -> list[SourceFile]:
    members = archive.infolist()
    problems = [f"{source}: refused: {problem}" for problem in filter(None, map(_danger, members))]
    total = sum(member.file_size for member in members)
    if total > _MAX_ZIP_BYTES:
        problems.append(f"{source}: refused: unpacks to {total} bytes, must be at most {_MAX_ZIP_BYTES}")
    if problems:
        raise DataError("\n".join(problems))
    lock = Lock()  # a ZipFile counts its readers without a lock
    return [
        SourceFile(
            name=_path(member).name,
            place=f"{source}: {member.filename}",
            size=member.file_size,
            read=partial(_read_member, source, archive, member, lock),
        )
        for member in members
        if not member.is_dir() and _is_official(_path(member))
    ]


def _path(member: ZipInfo) -> PurePosixPath:
    return PurePosixPath(member.filename.replace("\\", "/"))  # some Windows programs write backslashes


def _danger(member: ZipInfo) -> str | None:
    """The reason why a member must not be unpacked; None for a safe one."""
    path, kind = _path(member), stat.S_IFMT(member.external_attr >> 16)
    if path.is_absolute() or ".." in path.parts or re.match(r"[A-Za-z]:", str(path)):
        return f"the member {member.filename!r} points outside the folder"
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        return f"the member {member.filename!r} is a link or a device, must be a file or a folder"
    if member.flag_bits & 1:
        return f"the member {member.filename!r} is encrypted"
    return None


def _read_member(source: Path, archive: ZipFile, member: ZipInfo, lock: Lock) -> bytes:
    try:
        with lock:
            return archive.read(member)
    except (BadZipFile, EOFError, OSError, RuntimeError, ValueError, zlib.error) as error:
        raise DataError(f"{source}: {member.filename}: broken in the zip file ({error})") from None
