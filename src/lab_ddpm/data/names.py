"""Names of labels and of files, in the many ways in which systems and tables write one and the same name.

A Mac writes "ü" as two characters, an old disk may hold bytes that are not UTF-8, Windows separates folders by
backslashes, and tables have blanks where nobody sees them.
"""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Iterable, Mapping
from typing import TypeVar

_Value = TypeVar("_Value")


def clean_label(name: str) -> str:
    """A label as it is stored and compared: composed characters (NFC), and single blanks between words."""
    return " ".join(_readable(name).split())


def as_on_disk(entries: Mapping[str, _Value], files: Iterable[str]) -> dict[str, _Value]:
    """The entries of a table by file name, in the spelling that the disk has.

    Args:
        entries: By relative path, as the table writes it.
        files: The relative paths that exist. A path that is not among them is kept as it is.
    """
    files = set(files)
    spellings = {_readable(file): file for file in files}
    return {
        name if name in files else spellings.get(_readable(name.replace("\\", "/")), name): value
        for name, value in entries.items()
    }


def _readable(name: str) -> str:
    """NFC text. Bytes of a file name that are not UTF-8 are read as Latin-1, as most such names were written."""
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        name = os.fsencode(name).decode("latin-1")
    return unicodedata.normalize("NFC", name)
