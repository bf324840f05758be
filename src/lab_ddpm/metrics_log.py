"""`metrics.jsonl`: one JSON object per line, each with the step that it belongs to."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from lab_ddpm.files import write_text

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


def rewind(path: Path, step: int) -> None:
    """Forget what was logged after `step`, since training goes on from there."""
    kept = [record for record in read_records(path) if record["step"] <= step]
    write_text(path, "".join(json.dumps(record) + "\n" for record in kept))
