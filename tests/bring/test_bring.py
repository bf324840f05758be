"""Folders, tables and files as people bring them: each is read as they mean it, or refused with the name of its cause.

The rows come from public bug reports. The right columns say what the opened data set has, or what its error names.
"""

from __future__ import annotations

import json
import os
import struct
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, PngImagePlugin, TiffImagePlugin

from lab_ddpm.data.image_folder import open_folder
from lab_ddpm.data.summary import summarize
from lab_ddpm.tools.errors import UserError

SIDE = 8
RAMP = np.linspace(0, 1, SIDE**2).reshape(SIDE, SIDE)
BITS_12 = (RAMP * 4095).astype(np.uint16)
Make = Callable[[Path], Any]


def png(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (SIDE, SIDE), "red").save(path, format="PNG")


def folder(*names: str | bytes) -> Make:
    """Images of these names."""

    def make(root: Path) -> None:
        for name in names:
            png(root / os.fsdecode(name))

    return make


def table(text: str, name: str = "metadata.csv", images: tuple[str, ...] = ("a.png", "b.png")) -> Make:
    """Two images and a table of their labels."""

    def make(root: Path) -> None:
        folder(*images)(root)
        (root / name).write_text(text, encoding="utf-8")

    return make


def csv(cell: str, other: str = "rose") -> Make:
    quoted = cell.replace('"', '""')
    return table(f'file_name,labels\na.png,{other}\nb.png,"{quoted}"\n')


def jsonl(labels: object) -> Make:
    rows = [{"file_name": "a.png", "labels": ["rose"]}, {"file_name": "b.png", "labels": labels}]
    return table("\n".join(map(json.dumps, rows)), "metadata.jsonl")


def train_json(labels: Mapping[str, Any]) -> Make:
    def make(root: Path) -> None:
        folder("images/a.png", "images/b.png")(root)
        (root / "train.json").write_text(json.dumps(labels), encoding="utf-8")

    return make


def linked(*links: tuple[str, str]) -> Make:
    """Class folders of which one is elsewhere, and links (name, target)."""

    def make(root: Path) -> None:
        folder("rose/a.png", "../disk/tulip/b.png")(root)
        for name, target in links:
            (root / name).symlink_to(target)

    return make


@pytest.mark.parametrize(
    ("make", "labels", "count"),
    [
        (linked(("tulip", "../disk/tulip")), ["rose", "tulip"], 2),
        (linked(("tulip", "../disk/tulip"), ("lily", "rose")), ["lily", "rose", "tulip"], 3),
        (folder("rose/a.png", "rose/Thumbs.db", "tulip/b.png", "tulip/desktop.ini"), ["rose", "tulip"], 2),
        (folder("rose/a.png", "rose/a.png:Zone.Identifier", "tulip/._b.png", "tulip/b.png"), ["rose", "tulip"], 2),
        (folder("rose/a.png", "__MACOSX/rose/a.png", "@eaDir/a.png", "tulip/b.png"), ["rose", "tulip"], 2),
        (folder("rose/a.png", "rose /b.png"), ["rose"], 2),
        (folder("rose/a.png", "Rose/b.png"), ["Rose", "rose"], 2),
        (folder("Blu\u0308te/a.png", "Bl\u00fcte/b.png"), ["Blüte"], 2),
        (folder(b"rose/caf\xe9.png", b"tulip/b.png"), ["rose", "tulip"], 2),
        (folder(b"caf\xe9/a.png", "café/b.png"), ["café"], 2),
        (csv("['red cube', 'cyan sphere']"), ["cyan sphere", "red cube", "rose"], 2),
        (csv('["red cube", "cyan sphere"]'), ["cyan sphere", "red cube", "rose"], 2),
        (csv("""["baker's rose"]"""), ["baker's rose", "rose"], 2),
        (csv("rose "), ["rose"], 2),
        (csv("wild\u00a0 rose", "wild rose"), ["wild rose"], 2),
        (csv("Blu\u0308te", "Blüte"), ["Blüte"], 2),
        (csv("rose (red), cat"), ["cat", "rose", "rose (red)"], 2),
        (jsonl("['red cube']"), ["red cube", "rose"], 2),
        (jsonl([" rose"]), ["rose"], 2),
        (table("file_name,labels\n./a.png,x\nsub\\b.png,y\n", images=("a.png", "sub/b.png")), ["x", "y"], 2),
        (table("file_name,labels\nu\u0308.png,x\nb.png,y\n", images=("ü.png", "b.png")), ["x", "y"], 2),
        (table(" file_name , labels\n a.png,x\n.\\b.png,y\n,\n"), ["x", "y"], 2),
        (
            table('file_name,labels\na.png,"[""\\ud83c\\udf39 rose""]"\nb.png,"[""cat\\/dog""]"\n'),
            ["cat/dog", "🌹 rose"],
            2,
        ),
        (folder(b"rose/a.png", b"rose/.caf\xe9", b"tulip/b.png"), ["rose", "tulip"], 2),
        (folder("rose/a.png", "#recycle/rose/a.png", "lost+found/a.png", "tulip/b.png"), ["rose", "tulip"], 2),
        (train_json({"a.png": ["rose"], "b.png": ["rose "]}), ["rose"], 2),
        (train_json({"a.png": ["Blu\u0308te"], "b.png": ["Blüte"]}), ["Blüte"], 2),
    ],
)
def test_a_folder_is_read_as_it_is_meant(tmp_path: Path, make: Make, labels: list[str], count: int) -> None:
    make(tmp_path / "data")
    dataset = open_folder(tmp_path / "data", SIDE)
    assert list(dataset.labels) == labels
    assert len(dataset) == count
    assert dataset.class_labels.any(dim=1).all()
    summarize(dataset, tmp_path / "data").encode("utf-8")


@pytest.mark.parametrize(
    ("make", "named"),
    [
        (linked(("rose/up", "..")), "up"),
        (linked(("rose/all", "/")), "all"),
        (linked(("lily", "../absent")), "lily"),
        (csv("['red cube' 'cyan sphere']"), "line 3"),
        (csv("['red cube', 'cyan"), "line 3"),
        (csv("[red cube, cyan sphere]"), "line 3"),
        (csv("{'red cube'}"), "line 3"),
        (csv("('red cube', 'cyan sphere')"), "line 3"),
        (csv("'red cube'"), "line 3"),
        (csv("red cube; cyan sphere"), "line 3"),
        (csv("red cube|cyan sphere"), "line 3"),
        (csv("red cube,,cyan sphere"), "line 3"),
        (csv("rose, rose "), "line 3"),
        (csv("nan"), "line 3"),
        (csv(""), "line 3"),
        (csv("#N/A"), "line 3"),
        (csv("rose, NA"), "line 3"),
        (jsonl(["nan"]), "line 2"),
        (table("file_name,labels,labels\na.png,x,y\nb.png,x,y\n"), "labels"),
        (table("file_name,labels\nsub\\a.png,x\nsub/a.png,y\n", images=("sub/a.png",)), "sub/a.png"),
        (train_json({"a.png": ["rose"], "b.png": [""]}), "train.json"),
        (train_json({"a.png": ["rose"], "b.png": "rose"}), "b.png"),
        (train_json({"a.png": ["\ud800"], "b.png": ["rose"], "\ud800.png": ["rose"]}), "\\ud800.png"),
        (csv("[]"), "line 3"),
        (jsonl(None), "line 2"),
        (jsonl([["rose"]]), "line 2"),
        (jsonl("['red cube'"), "line 2"),
        (table("file_name;labels\na.png;x\nb.png;y\n"), "file_name"),
        (table("file_name,labels\na.png,x\nc.png,y\n"), "c.png"),
        (train_json({"a.png": ["rose"], "b.png": ["rose", "rose "]}), "b.png"),
        (train_json({"a.png": ["rose"]}), "b.png"),
        (folder("rose/a.png", "b.png"), "b.png"),
    ],
)
def test_a_folder_that_is_not_clear_is_refused(tmp_path: Path, make: Make, named: str) -> None:
    make(tmp_path / "data")
    with pytest.raises(UserError) as refusal:
        open_folder(tmp_path / "data", SIDE)
    assert named in str(refusal.value)


def saved(values: np.ndarray[Any, Any] | Image.Image, name: str, **options: Any) -> Make:
    image = values if isinstance(values, Image.Image) else Image.fromarray(values)
    return lambda root: image.save(root / name, **options)


def tiff(values: np.ndarray[Any, Any], lowest: int, range_of_values: tuple[float, float]) -> Make:
    """A TIFF file that states its range, by the tags (Min, Max) or (SMin, SMax)."""
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    for tag, value in zip((lowest, lowest + 1), range_of_values, strict=True):
        tags[tag] = value
        tags.tagtype[tag] = 11 if lowest == 340 else 3
    return saved(values, "x.tif", tiffinfo=tags)


def colours_of_16_bits(values: np.ndarray[Any, Any], alpha: bool = False) -> Make:
    """A PNG file, which Pillow cannot write."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    colours = np.repeat(values[..., None], 3, axis=2)
    if alpha:
        colours = np.dstack([colours, np.full((SIDE, SIDE), 65535)])
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in colours)
    header = struct.pack(">IIBBBBB", SIDE, SIDE, 16, 6 if alpha else 2, 0, 0, 0)
    content = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return lambda root: (root / "x.png").write_bytes(b"\x89PNG\r\n\x1a\n" + content)


def exif(*entries: tuple[int, int, int, bytes]) -> Make:
    """A JPEG of the ramp, on its side, whose EXIF data are orientation 6 and entries (tag, type, count, value)."""
    entries = ((0x112, 3, 1, struct.pack("<H", 6)), *entries)
    end = 8 + 2 + 12 * len(entries) + 4
    table = long = b""
    for tag, kind, count, value in entries:
        if len(value) > 4:
            value, long = struct.pack("<I", end + len(long)), long + value
        table += struct.pack("<HHI", tag, kind, count) + value.ljust(4, b"\0")
    content = b"Exif\0\0II*\0\x08\0\0\0" + struct.pack("<H", len(entries)) + table + b"\0\0\0\0" + long
    on_its_side = Image.fromarray((RAMP * 255).astype(np.uint8)).transpose(Image.Transpose.ROTATE_90)
    return saved(on_its_side, "x.jpg", exif=content, quality=100)


def text(chunk: str) -> PngImagePlugin.PngInfo:
    info = PngImagePlugin.PngInfo()
    if chunk == "zTXt":
        info.add_text("note", "x" * 3_000_000, zip=True)
    else:
        info.add_itxt("XML:com.adobe.xmp", "x" * 3_000_000)
    return info


GREY_8 = (RAMP * 255).astype(np.uint8)


@pytest.mark.parametrize(
    "make",
    [
        tiff(RAMP.astype(np.float32), 340, (0.0, 1.0)),
        tiff((RAMP * 2 - 1).astype(np.float32), 340, (-1.0, 1.0)),
        tiff(BITS_12, 280, (0, 4095)),
        saved((RAMP * 65535).astype(np.uint16), "x.png"),
        colours_of_16_bits((RAMP * 65535).astype(np.uint16)),
        lambda root: (root / "x.pgm").write_bytes(b"P5 8 8 4095\n" + BITS_12.astype(">u2").tobytes()),
        tiff(65535 - (RAMP * 65535).astype(np.uint16), 262, (0, 0)),
        exif((0x11A, 5, 1, struct.pack("<II", 1, 0))),
        exif((0x100, 2, 4, b"abc\0"), (0x828D, 3, 2, b"ab")),
        exif((0x11A, 5, 100, b"cut off.")),
        exif((0x8769, 4, 1, struct.pack("<I", 2**31))),
        saved(GREY_8, "x.png", pnginfo=text("zTXt")),
        saved(GREY_8, "x.png", pnginfo=text("iTXt")),
        saved(GREY_8, "x.png", icc_profile=b"\0" * 2_000_000),
    ],
)
@pytest.mark.filterwarnings("ignore:.*Truncated File Read:UserWarning")  # as in `data.images`
def test_a_file_is_read_with_its_whole_range(tmp_path: Path, make: Make) -> None:
    make(tmp_path)
    shown = open_folder(tmp_path, SIDE).images[0, ..., 0]
    np.testing.assert_allclose(shown, RAMP * 255, atol=4)


@pytest.mark.parametrize(
    "make",
    [
        saved(RAMP.astype(np.float32), "x.tif"),
        saved((RAMP * 1e9).astype(np.int32), "x.tif"),
        saved(BITS_12, "x.png"),
        saved(BITS_12, "x.tif"),
        colours_of_16_bits(BITS_12),
        colours_of_16_bits(BITS_12, alpha=True),
        tiff(RAMP.astype(np.float32), 340, (0.0, 0.5)),
        tiff(np.full((SIDE, SIDE), np.nan, np.float32), 340, (0.0, 1.0)),
        lambda root: (root / "x.png").write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n"),
        lambda root: (root / "x.jpg").write_bytes(b"<!DOCTYPE html><html></html>"),
        lambda root: (root / "x.png").touch(),
    ],
)
def test_a_file_whose_range_or_content_is_not_clear_is_refused(tmp_path: Path, make: Make) -> None:
    make(tmp_path)
    with pytest.raises(UserError, match=r"x\.\w+: "):
        open_folder(tmp_path, SIDE)


def test_a_long_list_of_mistakes_is_short(tmp_path: Path) -> None:
    labels = {f"{index}.png": ["rose"] for index in range(6000)}
    train_json({**labels, "a.png": ["rose"], "b.png": ["rose"]})(tmp_path)
    with pytest.raises(UserError) as refusal:
        open_folder(tmp_path, SIDE)
    lines = str(refusal.value).splitlines()
    assert len(lines) == 11
    assert "5990 more" in lines[-1]
