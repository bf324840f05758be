"""Write files and folders so that a crash at any moment leaves the old one or the new one, never half of one.

Everything is written under a temporary name in the same folder, flushed to the disk, then renamed (atomic on POSIX). No
package at hand does this for folders too.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shutil
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from tempfile import TemporaryFile
from threading import get_ident

from lab_ddpm.tools.errors import DataError, first_line

TEMPORARY_PREFIX = ".writing-"
_LITTER = (
    *("thumbs.db", "ehthumbs.db", "desktop.ini", "$recycle.bin", "system volume information"),
    *("__macosx", "icon\r", "@eadir", "#recycle", "lost+found"),
)
MACHINE = hashlib.sha256(platform.node().encode()).hexdigest()[:6]  # several machines may share a folder


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path for a file or a folder; rename it to `path` when the block ends without an error.

    An existing file at `path` is replaced. An existing folder that is not empty is an error.

    Raises:
        OSError: The disk is full or the folder is read-only; the temporary path is removed, `path` is untouched.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    sweep(path.parent.resolve())
    temporary = _temporary(path)
    try:
        yield temporary
        sync(temporary)
        os.replace(temporary, path)
        _sync_entry(path.parent)
    except BaseException:
        remove(temporary)
        raise


def visible_files(folder: Path) -> list[Path]:
    """All visible files and broken links in `folder` at any depth, sorted. Links to folders are followed.

    Raises:
        DataError: A link leads to a folder that contains it.
        OSError: A folder cannot be read.
    """
    real = folder.resolve()
    return sorted(_visible_files(folder, (real, *real.parents))) if folder.is_dir() else []


def _visible_files(folder: Path, above: tuple[Path, ...]) -> Iterator[Path]:
    for path in folder.iterdir():
        if not is_visible(path.name):
            continue
        if path.is_dir():
            real = path.resolve()
            if real in above:
                raise DataError(f"{path}: must not be a link to a folder that contains it")
            yield from _visible_files(path, (real, *above))
        elif path.is_file() or not path.exists():  # not a pipe or a device
            yield path


def is_visible(name: str) -> bool:
    """Whether a file or folder is the user's: neither hidden, nor what Windows, macOS and NAS systems leave behind."""
    return not name.startswith(".") and name.lower() not in _LITTER and not name.endswith("Zone.Identifier")


def expand_path(text: str) -> str:
    """A path with the home folder for a leading `~`, as a shell would read it; other texts stay as they are."""
    return os.path.expanduser(text) if text.startswith("~") else text


def existing_folder(folder: Path) -> Path:
    """The folder if it exists, or else the nearest one above it that does."""
    return next(path for path in (folder, *folder.absolute().parents) if path.exists())


def check_writable(folder: str | Path) -> None:
    """Raise at once the `OSError` that creating `folder` and writing into it would raise later; changes nothing."""
    folder = Path(folder)
    try:
        with TemporaryFile(dir=existing_folder(folder)):
            pass
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(folder)) from None


def write_bytes(path: str | Path, content: bytes) -> None:
    """Write a file atomically."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)


def write_text(path: str | Path, text: str) -> None:
    """Write a UTF-8 text file atomically."""
    write_bytes(path, text.encode("utf-8"))


def sha256(path: str | Path) -> str:
    """SHA-256 of a file, in hexadecimal digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_json(path: str | Path, content: object) -> None:
    """Write `content` as indented JSON atomically."""
    write_text(path, json.dumps(content, indent=2) + "\n")


def read_json(path: str | Path) -> object:
    """Parse a JSON file, or raise `DataError` with the file and what is wrong with it."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8-sig"), object_pairs_hook=_without_twins)
    except FileNotFoundError:
        raise DataError(f"{path}: no such file") from None
    except (ValueError, RecursionError) as error:  # also invalid UTF-8, and numbers of 5,000 digits
        raise DataError(f"{path}: not valid JSON ({first_line(error)})") from None


def _without_twins(pairs: list[tuple[str, object]]) -> dict[str, object]:
    if twins := [key for key, count in Counter(key for key, _ in pairs).items() if count > 1]:
        raise ValueError(f"the key {twins[0]!r} is written twice")
    return dict(pairs)


def link_atomically(target: Path, link: Path) -> None:
    """Make `link` a relative symbolic link to `target`, replacing an older link in one step.

    It also replaces a folder, which a link becomes in a copy of a run on a disk without links.
    """
    if not link.is_symlink():
        remove(link)
    temporary = _temporary(link)
    temporary.symlink_to(os.path.relpath(target, link.parent), target_is_directory=True)
    os.replace(temporary, link)
    _sync_entry(link.parent)


def remove(path: Path) -> None:
    """Remove a file, a link or a whole folder, if it exists. A folder is removed completely or not at all."""
    if path.is_symlink() or not path.is_dir():
        path.unlink(missing_ok=True)
    elif path.name.startswith(TEMPORARY_PREFIX):
        shutil.rmtree(path)
    else:
        going = _temporary(path, "removing-")
        path.rename(going)
        shutil.rmtree(going)


@cache
def sweep(folder: Path) -> None:
    """Remove what killed processes of this machine left half written, or half removed, in a folder.

    This is done once per process. Temporary names without a process number belong to staging folders; they stay.
    """
    for path in folder.glob(f"{TEMPORARY_PREFIX}*"):
        process, _, machine = path.name.removeprefix(TEMPORARY_PREFIX).partition("-")[0].partition(".")
        if process.isdigit() and machine == MACHINE and not _is_running(int(process)):
            remove(path)


def _is_running(process: int) -> bool:
    """Whether another process has this number. (If it is our own, an earlier process had it too, and is gone.)"""
    if process == os.getpid():
        return False
    try:
        os.kill(process, 0)
    except PermissionError:
        return True
    except (ProcessLookupError, OverflowError):
        return False
    return True


def sync(path: Path) -> None:
    """Flush a file, or every file of a folder, to the disk."""
    for entry in [path, *path.rglob("*")]:
        if entry.is_dir():
            _sync_entry(entry)
        else:
            with open(entry, "rb") as file:
                os.fsync(file.fileno())


def _temporary(path: Path, purpose: str = "") -> Path:
    """A free name in the folder of `path`, for this thread alone: several threads may write the same file."""
    temporary = path.with_name(f"{TEMPORARY_PREFIX}{os.getpid()}.{MACHINE}-{get_ident()}-{purpose}{path.name}")
    remove(temporary)
    return temporary


def _sync_entry(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
