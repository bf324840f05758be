"""SHA256SUMS, the list that `sha256sum --check` reads: whether files still are what was written.

A byte that a disk or a copy has changed in a file of weights is a weight of another value, which nothing else notices.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from lab_ddpm.tools.errors import DataError
from lab_ddpm.tools.files import sha256, write_text

SUMS = "SHA256SUMS"


def write_sums(folder: Path, names: Iterable[str]) -> None:
    """Write the sums of files of a folder into it."""
    write_text(folder / SUMS, "".join(f"{sha256(folder / name)}  {name}\n" for name in sorted(names)))


def check_sums(folder: str | Path) -> None:
    """Raise `DataError` if a file is not the one that its folder's list tells of; without a list, all is well."""
    folder = Path(folder)
    if not (folder / SUMS).is_file():
        return
    for line in (folder / SUMS).read_text(encoding="utf-8", errors="replace").splitlines():
        expected, _, name = line.partition("  ")
        file = folder / Path(name).name
        if not file.is_file():
            raise DataError(f"{file}: missing, and {folder / SUMS} tells of it")
        if sha256(file) != expected:
            raise DataError(f"{file}: not the file that {folder / SUMS} tells of: damaged, or changed since")
