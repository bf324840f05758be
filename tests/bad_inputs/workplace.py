"""The folder in which the commands of cases.yaml are typed, and the broken files that they find there."""

from __future__ import annotations

import hashlib
import io
import shutil
import stat
import struct
import zlib
from pathlib import Path
from typing import Any
from zipfile import ZipFile, ZipInfo


def put(place: Path, content: Any) -> None:
    """Write a file as cases.yaml describes it: a text, or one entry of those below."""
    if isinstance(content, str):
        _write(place, content.encode())
        return
    ((kind, value),) = content.items()
    if kind == "missing":
        shutil.rmtree(place) if place.is_dir() else place.unlink()
    elif kind == "half":  # of what is there
        place.write_bytes(place.read_bytes()[: place.stat().st_size // 2])
    elif kind == "bytes":
        _write(place, bytes.fromhex(value))
    elif kind == "folder":
        place.mkdir()
    elif kind == "link":
        place.unlink(missing_ok=True)
        place.symlink_to(value)
    elif kind == "bomb":  # a small PNG file of a great many pixels
        _write(place, _png_header(*value))
    elif kind == "zip":
        with ZipFile(place, "w") as archive:
            for name, text in value.items():
                archive.writestr(name, text)
    elif kind == "zip_link":
        with ZipFile(place, "w") as archive:
            member = ZipInfo("train.json")
            member.external_attr = (stat.S_IFLNK | 0o777) << 16
            archive.writestr(member, value)
    else:
        raise ValueError(f"unknown kind of file: {kind}")


def snapshot(folder: Path) -> dict[str, str]:
    """The content of all files, by their places; but for caches, and for the folder of the run that is tried."""
    found = {}
    for path in folder.rglob("*"):
        place = str(path.relative_to(folder))
        if "/.cache/" not in place and "/runs/new/" not in place and (path.is_symlink() or path.is_file()):
            found[place] = "link" if path.is_symlink() else hashlib.md5(path.read_bytes()).hexdigest()
    return found


def _write(place: Path, content: bytes) -> None:
    if place.is_dir():
        shutil.rmtree(place)
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(content)


def _png_header(width: int, height: int) -> bytes:
    out = io.BytesIO(b"\x89PNG\r\n\x1a\n")
    out.seek(0, 2)
    for kind, data in (
        (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)),
        (b"IDAT", zlib.compress(bytes(1000))),
        (b"IEND", b""),
    ):
        out.write(struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)))
    return out.getvalue()
