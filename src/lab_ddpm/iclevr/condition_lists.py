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
from collections.abc import Callable, Iterable
from itertools import combinations
from pathlib import Path

from lab_ddpm.data.conditions import Condition, shows
from lab_ddpm.data.iclevr import OBJECTS
from lab_ddpm.tools.files import write_text


def make_condition_lists() -> dict[str, list[Condition]]:
    """The lists by name: `test`, `new_test`, `val`, `new_val`, `unseen`, `many`."""
    unseen = _balanced_pairs("unseen", 32, per_object=4)
    unseen += _take("unseen", 3, 40, lambda c: not _contains_any(c, unseen))

    used: set[Condition] = set()

    def take(name: str, size: int, count: int, repeat_colour: bool | None = None) -> list[Condition]:
        chosen = _take(
            name,
            size,
            count,
            lambda c: (
                c not in used
                and not _contains_any(c, unseen)
                and (repeat_colour is None or repeats_colour(c) == repeat_colour)
            ),
        )
        used.update(chosen)
        return chosen

    test = take("test", 1, 6) + take("test", 2, 12) + take("test", 3, 14)

    def take_new(name: str, pairs: tuple[int, int], triples: tuple[int, int]) -> list[Condition]:
        """Take new combinations. `pairs` and `triples`: how many repeat a colour, and how many do not."""
        return (
            take(name, 2, pairs[0], repeat_colour=True)
            + take(name, 2, pairs[1], repeat_colour=False)
            + take(name, 3, triples[0], repeat_colour=True)
            + take(name, 3, triples[1], repeat_colour=False)
        )

    new_test = take_new("new_test", (10, 2), (18, 2))
    val = take("val", 1, 12) + take("val", 2, 24) + take("val", 3, 28)
    many = take("many", 4, 32) + take("many", 5, 32)
    new_val = take_new("new_val", (8, 4), (48, 4))
    return {"test": test, "new_test": new_test, "val": val, "new_val": new_val, "unseen": unseen, "many": many}


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


def _take(name: str, size: int, count: int, fits: Callable[[Condition], bool]) -> list[Condition]:
    return [condition for condition in _ranked(name, size) if fits(condition)][:count]


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
