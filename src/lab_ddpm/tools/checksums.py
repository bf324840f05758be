"""SHA256SUMS.txt, a list as `sha256sum --check` reads it: it shows whether files have changed since they were written.

If a disk or a copy changes a byte in a file of weights, a weight gets another value, and nothing else notices.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from lab_ddpm.tools.errors import DataError
from lab_ddpm.tools.files import sha256, write_text

SUMS = "SHA256SUMS.txt"


def write_sums(folder: Path, names: Iterable[str]) -> None:
    """Write the list for the named files of a folder into that folder."""
    write_text(folder / SUMS, "".join(f"{sha256(folder / name)}  {name}\n" for name in sorted(names)))


def check_sums(folder: str | Path) -> None:
    """Raise `DataError` if a file differs from the list in its folder. Without a list there is nothing to check."""
    folder = Path(folder)
    if not (folder / SUMS).is_file():
        return
    for line in (folder / SUMS).read_text(encoding="utf-8", errors="replace").splitlines():
        expected, _, name = line.partition("  ")
        file = folder / Path(name).name
        if not file.is_file():
            raise DataError(f"{file}: missing, but listed in {folder / SUMS}")
        if sha256(file) != expected:
            raise DataError(f"{file}: damaged or changed: it differs from {folder / SUMS}")
