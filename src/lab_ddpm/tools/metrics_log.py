"""`metrics.jsonl`: one JSON object per line, each with the step that it belongs to."""

from __future__ import annotations

import json
from collections.abc import Collection
from pathlib import Path
from typing import Any

from lab_ddpm.tools.files import write_text

Record = dict[str, Any]


def append_record(path: Path, record: Record) -> None:
    """Add one line."""
    with open(path, "a", encoding="utf-8") as file:
        file.write(json.dumps(record) + "\n")


def read_records(path: Path) -> list[Record]:
    """All whole lines; a last line that a crash cut short is left out."""
    if not path.is_file():
        return []
    text = path.read_text(encoding="utf-8")
    return [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines()]


def rewind(path: Path, step: int, evaluated: Collection[int]) -> None:
    """Forget what training will log again: all after `step`, and scores of steps that are not in `evaluated`."""
    kept = [
        record
        for record in read_records(path)
        if record["step"] <= step and ("validation" not in record or record["step"] in evaluated)
    ]
    write_text(path, "".join(json.dumps(record) + "\n" for record in kept))
