"""95 % intervals: of the mean of a few repetitions (seeds, pairs), by Student's t distribution, and of a share."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, TypedDict

import numpy as np


class Interval(TypedDict):
    """A mean and the two ends of its 95 % interval; None for a single value, which tells nothing about others.

    The mean of nothing is None, too.
    """

    mean: float | None
    ci95: list[float] | None


def mean_interval(values: Sequence[float]) -> Interval:
    """mean -+ t(0.975, n - 1) * s / sqrt(n), s being the standard deviation of the n values."""
    from scipy.stats import t

    mean = float(np.mean(values))
    if len(values) < 2:
        return Interval(mean=mean, ci95=None)
    half = float(t.ppf(0.975, len(values) - 1)) * float(np.std(values, ddof=1)) / math.sqrt(len(values))
    return Interval(mean=mean, ci95=[mean - half, mean + half])


def as_text(interval: Mapping[str, Any], form: str = ".3g") -> str:
    """`0.812 [0.795, 0.829]` of an `Interval` or a `Score`, or the mean alone, or `-` for that of nothing."""
    if interval["mean"] is None:
        return "-"
    text = format(interval["mean"], form)
    if interval["ci95"] is None:
        return text
    low, high = (format(end, form) for end in interval["ci95"])
    return f"{text} [{low}, {high}]"


def share_interval(found: int, asked: int) -> Interval:
    """The share `found / asked` and its `wilson_interval`."""
    if not asked:
        return Interval(mean=None, ci95=None)
    return Interval(mean=found / asked, ci95=[*wilson_interval(found, asked)])


def wilson_interval(found: int, asked: int) -> tuple[float, float]:
    """The 95 % interval of a share (Wilson, "Probable inference, the law of succession, and statistical inference",
    1927): also right for shares close to 1, of which `asked` independent trials found none or few misses."""
    from scipy.stats import binomtest

    interval = binomtest(found, asked).proportion_ci(method="wilson")
    return float(interval.low), float(interval.high)
