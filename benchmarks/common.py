"""Rows of a table of shares: what, how much of it, of how many."""

from __future__ import annotations

from typing import TypedDict

from lab_ddpm.evaluation.intervals import Interval, as_text, share_interval


class ShareRow(TypedDict):
    """A share of `of` trials, with its 95 % interval."""

    what: str
    share: Interval
    of: int


def share_row(what: str, found: int, of: int) -> ShareRow:
    """The row of `found` among `of`."""
    return ShareRow(what=what, share=share_interval(found, of), of=of)


def cells(row: ShareRow) -> list[object]:
    """The row under the columns "what", "share", "of"."""
    return [row["what"], as_text(row["share"], ".3f"), row["of"]]
