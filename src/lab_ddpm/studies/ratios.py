"""Ratios of two speeds, one of each round of a comparison in which both are timed in turn."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median


def as_ratio(ratios: Sequence[float]) -> str:
    """`1.02 [0.98, 1.11]`: the median over the rounds, the smallest and the largest."""
    return f"{median(ratios):.2f} [{min(ratios):.2f}, {max(ratios):.2f}]"
