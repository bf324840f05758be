"""`metrics.jsonl`: one JSON object per line, each with its step."""

from __future__ import annotations

import json
from collections.abc import Collection
from pathlib import Path
from typing import Any

from lab_ddpm.tools.errors import DataError, first_line
from lab_ddpm.tools.files import write_text


def append_record(path: Path, record: dict[str, Any]) -> None:
    """Add one line."""
    with open(path, "a", encoding="utf-8") as file:
        file.write(json.dumps(record) + "\n")


def read_records(path: Path) -> list[dict[str, Any]]:
    """The records of all complete lines; a last line that a crash cut short is left out.

    Raises:
        DataError: A line that is damaged.
    """
    if not path.is_file():
        return []
    records = []
    for number, line in enumerate(path.read_bytes().split(b"\n")[:-1], start=1):
        try:
            record = json.loads(line)
            if not isinstance(record["step"], int):
                raise TypeError("its step is not an integer")
        except (ValueError, KeyError, TypeError) as error:
            raise DataError(
                f"{path}: line {number} is damaged ({first_line(error)}); delete the line to continue"
            ) from None
        records.append(record)
    return records


def rewind(path: Path, step: int, evaluated: Collection[int]) -> None:
    """Remove what training will log again: all lines after `step`, and scores of steps that are not in `evaluated`."""
    kept = [
        record
        for record in read_records(path)
        if record["step"] <= step and ("validation" not in record or record["step"] in evaluated)
    ]
    write_text(path, "".join(json.dumps(record) + "\n" for record in kept))
