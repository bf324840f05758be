"""Images inside a page: files and charts as base64 data URIs."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from lab_ddpm.data.images import naming_broken_images


@dataclass(frozen=True)
class Embedded:
    """An image as a data URI, its size in pixels, and its URI in the dark theme if that is another one."""

    uri: str
    width: int
    height: int
    dark_uri: str | None = None


def embed_file(path: Path) -> Embedded:
    """The bytes of an image file, as they are.

    Raises:
        DataError: The file is missing or broken.
    """
    with naming_broken_images(path):
        content = path.read_bytes()
        with Image.open(path) as image:
            image.load()
            kind, (width, height) = image.format, image.size
    return Embedded(_uri(content, str(kind).lower()), width, height)


def embed_themes(light: Mapping[str, bytes], dark: Mapping[str, bytes]) -> dict[str, Embedded]:
    """Charts by name, each as PNG bytes in two themes."""
    charts = {}
    for name, content in light.items():
        width, height = Image.open(io.BytesIO(content)).size
        charts[name] = Embedded(_uri(content, "png"), width, height, _uri(dark[name], "png"))
    return charts


def _uri(content: bytes, kind: str) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"
