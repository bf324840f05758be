"""`metadata.jsonl` and `metadata.csv`: the label files of Hugging Face's ImageFolder.

    {"file_name": "a.png", "labels": ["red cube", "cyan sphere"]}         a line of metadata.jsonl
    file_name,labels                                                      metadata.csv
    a.png,"red cube, cyan sphere"

`file_name` is relative to the folder of the file. Labels in one text are separated by commas, or the text is a list as
JSON or Python writes it: `["red cube", "cyan sphere"]`. Other keys and columns are ignored.
"""

from __future__ import annotations

import ast
import csv
import json
import re
import reprlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from io import StringIO
from pathlib import Path
from token import STRING
from tokenize import TokenError, generate_tokens
from typing import Any

from lab_ddpm.data.conditions import Condition
from lab_ddpm.data.names import clean_label
from lab_ddpm.tools.errors import DataError, shown
from lab_ddpm.tools.files import write_text

# A list that is not closed, another separator, or quotes around a name.
_NO_NAMES = re.compile(r"[\[\]{};|\t\r\n]|(^|,)\s*[\"'(]")
# As pandas, R and spreadsheets write it.
_MISSING = re.compile(r"#?n/a|nan|none|null|<na>|na|nat|-|#value!|#ref!|#name\?|#div/0!", re.IGNORECASE)
METADATA_FILES = ("metadata.jsonl", "metadata.csv")


def find_metadata(root: Path) -> Path | None:
    """The metadata file of a folder, if there is one.

    Raises:
        DataError: There are two.
    """
    found = [path for name in METADATA_FILES if (path := root / name).is_file()]
    if len(found) > 1:
        raise DataError(f"{root}: must have one of {' and '.join(METADATA_FILES)}, got both")
    return found[0] if found else None


def read_metadata(path: Path) -> tuple[dict[str, Condition], list[str]]:
    """The labels of the images by file name, and one line for every problem.

    Raises:
        DataError: The file is not UTF-8, is empty, or is a table without the two columns.
    """
    conditions: dict[str, Condition] = {}
    problems: list[str] = []
    for line, entry in _entries(path):
        try:
            name, labels = _entry(entry)
        except ValueError as error:
            problems.append(f"{path}: {line}: {error}")
            continue
        if name in conditions:
            problems.append(f"{path}: {line}: names {shown(name)} a second time")
        conditions[name] = labels
    if not conditions and not problems:
        raise DataError(f"{path}: must have a line for each image, got none")
    return conditions, problems


def write_metadata(path: Path, conditions: Mapping[str, Sequence[str]]) -> None:
    """Write a `metadata.jsonl`."""
    lines = [json.dumps({"file_name": name, "labels": list(labels)}) for name, labels in conditions.items()]
    write_text(path, "\n".join(lines) + "\n")


def _entries(path: Path) -> Iterator[tuple[str, Any]]:
    """("line N", content) of every line; a line that is not JSON is returned as text."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise DataError(f"{path}: must be UTF-8") from None
    if path.suffix == ".csv":
        rows = csv.DictReader(StringIO(text, newline=""))
        rows.fieldnames = columns = [name.strip() for name in rows.fieldnames or ()]
        if [columns.count(name) for name in ("file_name", "labels")] != [1, 1]:
            got = reprlib.repr(columns) if columns else "none"
            raise DataError(f"{path}: must have the columns file_name and labels, once each, got {got}")
        try:
            yield from ((f"line {rows.line_num}", row) for row in rows if any(row.values()))
        except csv.Error as error:
            raise DataError(f"{path}: line {rows.line_num}: {error}") from None
        return
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            try:
                yield f"line {number}", json.loads(line)
            except (ValueError, RecursionError):
                yield f"line {number}", line


def _entry(entry: Any) -> tuple[str, Condition]:
    """The image and its labels, or a `ValueError` that says what is wrong."""
    if not isinstance(entry, dict):
        raise ValueError('must be a JSON object such as {"file_name": "a.png", "labels": ["red cube"]}')
    if None in entry:  # where `csv` puts what is beyond the last column
        raise ValueError("must have as many fields as there are columns: put labels with commas in quotes")
    name, labels = entry.get("file_name"), entry.get("labels")
    if not isinstance(name, str) or not name or Path(name).is_absolute() or ".." in Path(name).parts:
        raise ValueError(f"`file_name` must be a path within the folder, got {reprlib.repr(name)}")
    if isinstance(labels, str):
        labels = _split(labels)
    if not isinstance(labels, list) or not labels or not all(isinstance(name, str) and name.strip() for name in labels):
        got = reprlib.repr(entry.get("labels"))
        raise ValueError(f"`labels` must be a list of names, or one text with commas, got {got}")
    labels = [clean_label(label) for label in labels]
    if any(_MISSING.fullmatch(label) for label in labels):
        raise ValueError(f"`labels` must not be a missing value, got {labels}")
    if len(set(labels)) != len(labels):
        raise ValueError(f"`labels` must not name a label twice, got {labels}")
    return Path(name).as_posix(), tuple(labels)


def _split(text: str) -> Any:
    """The labels in one text, or None if it is not one clean list of names."""
    text = text.strip()
    if text.startswith("["):
        with suppress(ValueError, RecursionError):
            return json.loads(text)
        with suppress(ValueError, SyntaxError, RecursionError, TokenError):
            quoted = [token for token in generate_tokens(StringIO(text).readline) if token.type == STRING]
            labels = ast.literal_eval(text)
            return labels if len(labels) == len(quoted) else None  # Python joins texts without a comma between them
    if _NO_NAMES.search(text):
        return None
    return text.split(",")
