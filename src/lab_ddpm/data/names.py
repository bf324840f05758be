"""Names of labels and of files, in the many ways in which systems and tables write one and the same name.

A Mac writes "ü" as two characters, an old disk may hold bytes that are not UTF-8, Windows separates folders by
backslashes, and tables have blanks where nobody sees them.
"""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Iterable, Mapping
from pathlib import PurePosixPath
from typing import TypeVar

from lab_ddpm.tools.errors import shown

_Value = TypeVar("_Value")


def clean_label(name: str) -> str:
    """A label as it is stored and compared: composed characters (NFC), and single blanks between words."""
    return " ".join(_readable(name).split())


def as_on_disk(entries: Mapping[str, _Value], files: Iterable[str]) -> tuple[dict[str, _Value], list[str]]:
    """The entries of a table by file name, in the spelling that the disk has, and one line for each that comes twice.

    Args:
        entries: By relative path, as the table writes it.
        files: The relative paths that exist. A path that is not among them is kept as it is.
    """
    files = set(files)
    spellings = {_readable(file): file for file in files}
    found: dict[str, _Value] = {}
    problems = []
    for name, value in entries.items():
        usual = PurePosixPath(name.strip().replace("\\", "/")).as_posix()
        file = name if name in files else spellings.get(_readable(usual), name)
        if file in found:
            problems.append(f"{shown(name)}: named a second time, in another spelling")
        found[file] = value
    return found, problems


def _readable(name: str) -> str:
    """NFC text. Bytes of a file name that are not UTF-8 are read as Latin-1, as most such names were written."""
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        try:
            name = os.fsencode(name).decode("latin-1")
        except UnicodeEncodeError:  # half of a character, which a JSON file can hold
            name = name.encode("utf-8", "replace").decode("utf-8")
    return unicodedata.normalize("NFC", name)
