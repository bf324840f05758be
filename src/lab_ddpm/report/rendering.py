"""Fill in the templates, with images as data URIs."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from PIL import Image

from lab_ddpm.data.images import naming_broken_images


def render(template: str, **values: Any) -> str:
    """The text of a file in `templates/` with its values filled in. In HTML the values are escaped."""
    environment = Environment(
        loader=PackageLoader("lab_ddpm.report"),
        autoescape=select_autoescape(),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["duration"] = _duration
    return environment.get_template(template).render(**values)


def _duration(seconds: float) -> str:
    """A duration in words, such as 42 seconds, 5.3 minutes, 2.4 hours or 3.1 days."""
    for unit, size in (("days", 86_400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.0f} seconds"


@dataclass(frozen=True)
class Embedded:
    """An image as a data URI, and its size in pixels."""

    uri: str
    width: int
    height: int


def embed(content: bytes) -> Embedded:
    """Embed the bytes of an image file."""
    with Image.open(io.BytesIO(content)) as image:
        image.load()
        uri = f"data:image/{str(image.format).lower()};base64,{base64.b64encode(content).decode()}"
        return Embedded(uri, *image.size)


def embed_file(path: Path) -> Embedded:
    """Embed an image file.

    Raises:
        DataError: It is missing or broken.
    """
    with naming_broken_images(path):
        return embed(path.read_bytes())
