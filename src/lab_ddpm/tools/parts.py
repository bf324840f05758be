"""One part of some work that several machines share: `1/4` is the first of four."""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from typing import NamedTuple, TypeVar

Item = TypeVar("Item")


class Part(NamedTuple):
    """Part `number` (from 1) of `count`."""

    number: int
    count: int

    def of(self, items: Sequence[Item]) -> Sequence[Item]:
        """Every `count`-th of the items. All parts together have each item once."""
        return items[self.number - 1 :: self.count]


WHOLE = Part(1, 1)


def parse_part(text: str) -> Part:
    """The part of a text such as `1/4`, for argparse."""
    found = re.fullmatch(r"([0-9]{1,6})/([0-9]{1,6})", text)
    part = Part(*map(int, found.groups())) if found else Part(0, 0)
    if not 1 <= part.number <= part.count:
        raise argparse.ArgumentTypeError(f"must be K/N with 1 <= K <= N, such as 1/4, got {text!r}")
    return part
