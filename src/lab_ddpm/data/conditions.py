"""Conditions, lists of conditions, and their multi-hot encoding.

A *condition* is a tuple of the labels that an image should show, such as ("red cube", "cyan sphere"). It is encoded as
a multi-hot vector over the vocabulary of a model or of a data set.

Torch is imported by the two functions that make tensors: commands check conditions before they load it.
"""

from __future__ import annotations

import re
import reprlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lab_ddpm.data.names import clean_label
from lab_ddpm.tools.errors import DataError, UserError, did_you_mean, listed, shown
from lab_ddpm.tools.files import read_json

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray

Condition = tuple[str, ...]

_SHOWN = 40


def encode(conditions: Sequence[Sequence[str]], labels: Sequence[str]) -> torch.Tensor:
    """Conditions as multi-hot rows.

    Args:
        conditions: N conditions, none of them empty.
        labels: The vocabulary; column j stands for `labels[j]`.

    Returns:
        (N, len(labels)) float32 of zeros and ones.

    Raises:
        UserError: A condition is empty, or has an unknown label or the same label twice.
    """
    import torch

    index = {name: column for column, name in enumerate(labels)}
    for condition in conditions:
        check_condition(condition, labels)
    ones = [(row, index[name]) for row, condition in enumerate(conditions) for name in condition]
    class_labels = torch.zeros(len(conditions), len(labels))
    class_labels[tuple(torch.tensor(ones, dtype=torch.long).reshape(-1, 2).T)] = 1.0
    return class_labels


def to_rows(conditions: Sequence[str | Condition] | torch.Tensor | NDArray[Any], labels: Sequence[str]) -> torch.Tensor:
    """Conditions in any form as multi-hot rows.

    Args:
        conditions: N entries as in `parse_conditions`, in which an empty one means no condition; or an array or tensor
            (N, len(labels)), or (N, K, len(labels)) for composed conditions (`guidance`).
        labels: The vocabulary; column j stands for `labels[j]`.

    Returns:
        (N, len(labels)) float32, or (N, K, len(labels)).

    Raises:
        UserError: An unknown label, the same label twice in a condition, or an array of another shape.
    """
    import numpy as np
    import torch

    if isinstance(conditions, np.ndarray) and conditions.dtype.kind in "biuf":
        conditions = torch.from_numpy(conditions.astype(np.float32))
    if isinstance(conditions, torch.Tensor) and conditions.ndim in (2, 3) and conditions.shape[-1] == len(labels):
        lowest = 0 if conditions.ndim == 2 else -1
        if conditions.is_complex() or not ((lowest <= conditions) & (conditions <= 1)).all():
            raise UserError(f"rows of `conditions` must be numbers in [{lowest}, 1]")
        if ((conditions > 0).any(dim=-1) & (conditions < 0).any(dim=-1)).any():
            raise UserError("a row of a composed condition must have no negative numbers (AND), or no positive (NOT)")
        return conditions.float()
    if isinstance(conditions, (torch.Tensor, np.ndarray)):
        raise UserError(
            f"`conditions` must be a list or an array of (N, {len(labels)}) numbers, got {conditions.dtype} of "
            f"{tuple(conditions.shape)}"
        )
    parsed = parse_conditions(conditions, labels)
    rows = torch.zeros(len(parsed), len(labels))
    named = [row for row, condition in enumerate(parsed) if condition]
    rows[named] = encode([parsed[row] for row in named], labels)
    return rows


def parse_condition(text: str, labels: Sequence[str]) -> Condition:
    """The condition of a text such as "red cube, cyan sphere", not checked. A label itself may contain commas."""
    whole = clean_label(text)
    return (whole,) if whole in labels else tuple(clean_label(name) for name in text.split(","))


def join_condition(texts: Sequence[str], labels: Sequence[str]) -> Condition:
    """Join several texts to one condition. Each text is as in `parse_condition`.

    Raises:
        UserError: No label, an unknown one, or the same one twice.
    """
    condition = tuple(label for text in texts for label in parse_condition(text, labels))
    if len(texts) > 1 and texts[0] not in labels and " ".join(texts) in labels:
        raise UserError(f'did you mean "{" ".join(texts)}"? A label of several words needs quotes')
    check_condition(condition, labels)
    return condition


def every_label(labels: Sequence[str], count: int) -> list[Condition]:
    """`count` conditions of one label each, in the order of the labels. All labels occur equally often (to within one).

    Without labels, `count` empty conditions.
    """
    return [(labels[index * len(labels) // count],) if labels else () for index in range(count)]


def parse_conditions(entries: Sequence[str | Condition], labels: Sequence[str]) -> list[Condition]:
    """Conditions from a list of texts (see `parse_condition`) or tuples of labels, not checked.

    Raises:
        UserError: A single text instead of a list, or entries that are not texts or tuples of texts.
    """
    if isinstance(entries, str) or not isinstance(entries, Sequence):
        raise UserError(f"`conditions` must be a list with one entry per image, got {reprlib.repr(entries)}")
    parsed: list[Condition] = []
    for entry in entries:
        if isinstance(entry, str):
            parsed.append(parse_condition(entry, labels))
        elif isinstance(entry, Sequence) and all(isinstance(name, str) for name in entry):
            parsed.append(tuple(map(clean_label, entry)))
        else:
            raise UserError(
                f"a condition must be a text or a list of names, and rows of numbers one (N, {len(labels)}) array, "
                f"got {reprlib.repr(entry)} in a list"
            )
    return parsed


def check_condition(condition: Sequence[str], labels: Sequence[str]) -> None:
    """Raise `UserError` unless `condition` is a non-empty list of different, known labels."""
    if isinstance(condition, str) or not isinstance(condition, Sequence):
        raise UserError(f"a condition must be a list of labels, got {condition!r}")
    if not condition:
        raise UserError("a condition must name at least one label, got an empty list")
    if not labels:
        raise UserError(
            f"a condition must be empty where there are no labels, as in an unconditional model, got {condition[0]!r}"
        )
    for name in condition:
        if name not in labels:
            raise UserError(
                f"{_meant(name, labels)}a label must be one of {_shortened(labels)}, got {reprlib.repr(name)}"
            )
    if len(set(condition)) != len(condition):
        raise UserError(f"a condition must not name a label twice, got {list(condition)}")


def _shortened(labels: Sequence[str]) -> str:
    """The labels as a list, up to forty of them."""
    return f"{list(labels)}" if len(labels) <= _SHOWN else f"{len(labels)} labels such as {list(labels[:_SHOWN])}"


def _meant(name: str, labels: Sequence[str]) -> str:
    """As `did_you_mean`, but first look for labels that `name` contains with other letter case or punctuation."""
    spelt = {label.lower(): label for label in labels}
    longest_first = "|".join(sorted(map(re.escape, spelt), key=len, reverse=True))
    contained = re.findall(rf"(?<!\w)(?:{longest_first})(?!\w)", str(name).lower()) if labels else []
    meant = ", ".join(dict.fromkeys(spelt[text] for text in contained))
    return f"did you mean {meant!r}? " if meant else did_you_mean(name, labels)


def load_conditions(path: str | Path, labels: Sequence[str]) -> list[Condition]:
    """Read a condition list: a JSON list of lists of label names, such as `[["red cube"], ["gray cube", ...]]`.

    Raises:
        DataError: The file is missing, not JSON or of another shape, or a condition is not valid. The message names
            the file and the entry in it.
    """
    content = read_json(path)
    if not isinstance(content, list) or not content:
        raise DataError(f"{path}: must be a non-empty JSON list of lists of labels")
    return [_checked(path, f"condition {position}", entry, labels) for position, entry in enumerate(content)]


def load_labels(path: str | Path, labels: Sequence[str]) -> dict[str, Condition]:
    """Read a training list: a JSON object {image file name: list of label names}.

    Raises:
        DataError: As for `load_conditions`; the message names every entry that is not valid.
    """
    content, problems = read_labels(path, labels)
    if problems:
        raise DataError(listed(problems))
    return content


def read_labels(path: str | Path, labels: Sequence[str]) -> tuple[dict[str, Condition], list[str]]:
    """As `load_labels`, but returns one line for each entry that is not valid (its condition is then empty).

    Raises:
        DataError: The file is missing or not a JSON object.
    """
    content = read_json(path)
    if not isinstance(content, dict) or not content:
        raise DataError(f"{path}: must be a non-empty JSON object {{image name: list of labels}}")
    conditions: dict[str, Condition] = {}
    problems = []
    for name, condition in content.items():
        conditions[name] = ()
        try:
            conditions[name] = _checked(path, name, condition, labels)
        except DataError as error:
            problems.append(str(error))
    return conditions, problems


def load_objects(path: str | Path) -> tuple[str, ...]:
    """Read `objects.json` ({name: index}): the names in the order of their indices.

    Raises:
        DataError: The file is missing, or the indices are not 0 ... n - 1, each once.
    """
    content = read_json(path)
    if not isinstance(content, dict) or not content:
        raise DataError(f"{path}: must be a non-empty JSON object {{object name: index}}")
    indices = list(content.values())
    if any(type(i) is not int for i in indices) or sorted(indices) != list(range(len(content))):
        raise DataError(f"{path}: the indices must be 0 ... {len(content) - 1}, each once, got {indices}")
    names = tuple(clean_label(name) for name in sorted(content, key=lambda name: content[name]))
    if "" in names or len(set(names)) < len(names):
        raise DataError(f"{path}: the names must be different and not empty, got {reprlib.repr(names)}")
    return names


def shows(shown: Iterable[str], condition: Iterable[str]) -> bool:
    """Whether an image that shows the objects `shown` contains all objects of `condition`."""
    return set(condition) <= set(shown)


def _checked(path: str | Path, entry: str, condition: Sequence[str], labels: Sequence[str]) -> Condition:
    if isinstance(condition, list):
        condition = [clean_label(name) if isinstance(name, str) else name for name in condition]
    try:
        check_condition(condition, labels)
    except UserError as error:
        raise DataError(f"{path}: {shown(entry)}: {error}") from None
    return tuple(condition)
