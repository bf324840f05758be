"""Means and shares with their 95 % intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypedDict

import numpy as np
from numpy.typing import NDArray

_RESAMPLES = 2000


class Score(TypedDict):
    """A mean and the two ends of its 95 % interval. The interval of a single value is None."""

    mean: float
    ci95: list[float] | None


def as_text(score: Mapping[str, Any], form: str = ".3g") -> str:
    """`0.812 [0.795, 0.829]`, or the mean alone if there is no interval."""
    mean = format(score["mean"], form)
    return mean if score["ci95"] is None else f"{mean} [{', '.join(format(end, form) for end in score['ci95'])}]"


def mean_interval(values: Sequence[float]) -> Score:
    """The mean of a few repetitions (such as seeds), with the interval of Student's t distribution."""
    from scipy.stats import sem, t

    mean = float(np.mean(values))
    if len(values) < 2:
        return Score(mean=mean, ci95=None)
    half = float(t.ppf(0.975, len(values) - 1) * sem(values))
    return Score(mean=mean, ci95=[mean - half, mean + half])


def share_interval(found: int, asked: int) -> Score:
    """The share `found / asked` of independent trials, with Wilson's interval; `asked` is at least 1.

    It is also right for shares close to 0 and 1 (Wilson, "Probable inference, the law of succession, and statistical
    inference", 1927).
    """
    from scipy.stats import binomtest

    interval = binomtest(found, asked).proportion_ci(method="wilson")
    return Score(mean=found / asked, ci95=[float(interval.low), float(interval.high)])


class Bootstrap:
    """Intervals of ratios over all pairs of seeds and conditions, by the pigeonhole bootstrap.

    A hard condition is hard with every seed. So seeds and conditions are resampled with replacement, independently of
    each other, and the middle 95 % of the resampled ratios are the interval (Owen, "The pigeonhole bootstrap", 2007,
    arXiv:0712.1111). scipy's bootstrap can resample only one of the two.

    The intervals are a little too wide (Owen and Eckles, 2012, arXiv:1106.2125). But with only a few seeds they can
    underestimate how much seeds differ. With one seed, only conditions are resampled.

    Args:
        seeds: S, the number of seeds.
        conditions: N, the number of conditions.
    """

    def __init__(self, seeds: int, conditions: int) -> None:
        rng = np.random.default_rng(0)  # fixed: the same results always give the same interval
        self.seed_counts, self.condition_counts = self._draw(rng, seeds), self._draw(rng, conditions)

    @staticmethod
    def _draw(rng: np.random.Generator, count: int) -> NDArray[np.int64]:
        """(_RESAMPLES, count): how often each of `count` things comes up in `count` draws with replacement."""
        return rng.multinomial(count, np.full(count, 1 / count), size=_RESAMPLES)

    def ratio(self, found: NDArray[np.float64], asked: NDArray[np.float64]) -> Score:
        """The sum of `found` over the sum of `asked`.

        Args:
            found: (S, N), for each seed and condition.
            asked: (S, N), or (N,) if it is the same for every seed; not all zero.
        """
        asked = np.broadcast_to(asked, found.shape)
        resampled_found = ((self.seed_counts @ found) * self.condition_counts).sum(axis=1)
        resampled_asked = ((self.seed_counts @ asked) * self.condition_counts).sum(axis=1)
        possible = resampled_asked > 0  # a draw may miss every condition that asks for a rare object
        ends = np.percentile(resampled_found[possible] / resampled_asked[possible], [2.5, 97.5])
        return Score(mean=float(found.sum() / asked.sum()), ci95=ends.tolist())
