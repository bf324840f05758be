"""`manifest.json` in a folder of generated images: the file and the condition of each image, and how it was made."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lab_ddpm.data.conditions import Condition
from lab_ddpm.diffusion.pipeline import LabelConditionalPipeline
from lab_ddpm.generation.generate import GeneratedImages, sampling_record
from lab_ddpm.tools.errors import DataError, UserError
from lab_ddpm.tools.files import read_json, write_json

MANIFEST = "manifest.json"
_FILE = re.compile(r"[0-9]{2,}\.png")


def write_manifest(
    folder: Path,
    name: str,
    files: Sequence[str],
    conditions: Sequence[Condition],
    generated: GeneratedImages,
    pipeline: LabelConditionalPipeline,
    details: Mapping[str, object],
) -> None:
    """Write the manifest of N generated images in N files of a folder.

    Args:
        name: Name of the list of conditions.
        details: More to record about all of them.
    """
    settings = sampling_record(pipeline, generated)
    entries = [
        {"file": file, "condition": list(condition), "seed": seed, **settings}
        for file, condition, seed in zip(files, conditions, generated.seeds, strict=True)
    ]
    write_json(folder / MANIFEST, {"split": name, **details, "images": entries})


def read_manifest(folder: Path) -> dict[str, Any] | None:
    """The manifest of a folder; None if there is none.

    "images" has N entries with "file" and "condition".

    Raises:
        DataError: It is broken, or another program wrote it.
    """
    path = folder / MANIFEST
    if not path.is_file():
        return None
    content: Any = read_json(path)
    try:
        for entry in content["images"]:
            if not _FILE.fullmatch(entry["file"]):
                raise ValueError
            entry["condition"] = [str(label) for label in entry["condition"]]
    except (AttributeError, KeyError, TypeError, ValueError):
        raise DataError(f"{path}: not written by this program") from None
    return content


def check_manifest(folder: Path, conditions: Sequence[Condition]) -> None:
    """Raise `UserError` if a manifest says that the images of a folder were made for other conditions."""
    try:
        manifest = read_manifest(folder)
    except DataError:  # of another program
        return
    if manifest and [tuple(entry["condition"]) for entry in manifest["images"]] != list(conditions):
        raise UserError(f"{folder / MANIFEST}: these images were made for other conditions")
