"""Names of labels and of files, which systems write in different ways.

A Mac writes "ü" as two characters, Windows separates folders by backslashes, and tables have blanks where nobody sees
them.
"""

from __future__ import annotations

import unicodedata
from pathlib import PurePosixPath


def clean_label(name: str) -> str:
    """A label as it is stored and compared: composed characters (NFC), and single blanks between words."""
    return " ".join(_readable(name).split())


def clean_path(name: str) -> str:
    """A relative path as it is stored and compared: composed characters (NFC), and slashes between folders."""
    return PurePosixPath(_readable(name).strip().replace("\\", "/")).as_posix()


def _readable(name: str) -> str:
    """NFC text. What is no character, such as a byte of a file name that is not UTF-8, becomes a question mark."""
    return unicodedata.normalize("NFC", name.encode("utf-8", "replace").decode("utf-8"))
