"""How the project's own condition lists in `data/iclevr/` are made.

All combinations of a given number of the 24 objects are sorted by SHA-256("list name: object, object, ..."), a shuffle
that is the same on every platform. Each list takes the first combinations that fit it:

- `unseen` (32 pairs, 40 triples): combinations that no training image of the replica contains. No object is in more
  than 4 of the pairs, so that the training images stay balanced. This list is chosen first.
- `test` (6 single objects, 12 pairs, 14 triples; 72 objects): the structure of the official `test.json`.
- `new_test` (12 pairs, 20 triples; 84 objects): the structure of the official `new_test.json`, in which 10 pairs and 18
  triples repeat a colour.
- `val` (12 single objects, 24 pairs, 28 triples) and `new_val` (12 pairs, 52 triples, of which 8 and 48 repeat a
  colour): for choosing checkpoints and settings.
- `many` (32 of four objects, 32 of five): more objects than any training image shows.

No combination is in two lists. Only `unseen` has combinations that contain an unseen one.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations
from pathlib import Path

from lab_ddpm.data.conditions import Condition, shows
from lab_ddpm.data.iclevr import OBJECTS
from lab_ddpm.tools.files import write_text


def make_condition_lists() -> dict[str, list[Condition]]:
    """The lists by name: `test`, `new_test`, `val`, `new_val`, `unseen`, `many`."""
    unseen = _balanced_pairs("unseen", 32, per_object=4)
    unseen += [triple for triple in _ranked("unseen", 3) if not _contains_any(triple, unseen)][:40]
    used: set[Condition] = set()

    def take(name: str, *parts: tuple[int, int, bool | None]) -> list[Condition]:
        """New combinations for each part: their size, how many, and whether they repeat a colour (None: either)."""
        chosen: list[Condition] = []
        for size, count, repeats in parts:
            free = [c for c in _ranked(name, size) if c not in used and not _contains_any(c, unseen)]
            chosen += [c for c in free if repeats in (None, repeats_colour(c))][:count]
        used.update(chosen)
        return chosen

    return {
        "test": take("test", (1, 6, None), (2, 12, None), (3, 14, None)),
        "new_test": take("new_test", (2, 10, True), (2, 2, False), (3, 18, True), (3, 2, False)),
        "val": take("val", (1, 12, None), (2, 24, None), (3, 28, None)),
        "many": take("many", (4, 32, None), (5, 32, None)),
        "new_val": take("new_val", (2, 8, True), (2, 4, False), (3, 48, True), (3, 4, False)),
        "unseen": unseen,
    }


def write_condition_lists(folder: str | Path) -> None:
    """Write `objects.json` and the lists into `folder`; existing files are kept."""
    lists: dict[str, object] = {"objects": {name: index for index, name in enumerate(OBJECTS)}}
    for name, content in (lists | make_condition_lists()).items():
        path = Path(folder) / f"{name}.json"
        if not path.exists():
            write_text(path, json.dumps(content) + "\n")


def repeats_colour(condition: Iterable[str]) -> bool:
    """Whether two objects of the condition have the same colour."""
    colours = [name.split()[0] for name in condition]
    return len(set(colours)) < len(colours)


def _ranked(name: str, size: int) -> list[Condition]:
    def rank(condition: Condition) -> str:
        return hashlib.sha256(f"{name}: {', '.join(condition)}".encode()).hexdigest()

    return sorted(combinations(OBJECTS, size), key=rank)


def _balanced_pairs(name: str, count: int, per_object: int) -> list[Condition]:
    uses: Counter[str] = Counter()
    pairs: list[Condition] = []
    for pair in _ranked(name, 2):
        if len(pairs) < count and all(uses[member] < per_object for member in pair):
            pairs.append(pair)
            uses.update(pair)
    return pairs


def _contains_any(condition: Condition, others: Iterable[Condition]) -> bool:
    return any(shows(condition, other) for other in others)


def count_seen(conditions: Sequence[Condition], training_labels: Mapping[str, Condition]) -> int:
    """How many of `conditions` are contained in at least one training image."""
    images = {frozenset(objects) for objects in training_labels.values()}
    return sum(any(shows(image, condition) for image in images) for condition in conditions)
