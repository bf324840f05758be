"""The scores of i-CLEVR and how sure they are.

For a condition of k objects, the k highest of a classifier's 24 outputs count as what the image shows (the
official rule). An asked object among them is *found*. Over a list of conditions

    micro            objects found / objects asked (the official score)
    exact_match      images with all their objects found / images
    by_object_count  micro over the conditions of 1, of 2, ... objects
    by_object        micro over one object: its recall

Every score is a ratio of two sums over the images, sum(found) / sum(asked), and comes with a 95 % interval.

What the interval covers: the score of the same model and classifier under other seeds and on other conditions
of the same kind. It comes from the pigeonhole bootstrap (Owen, "The pigeonhole bootstrap", 2007,
arXiv:0712.1111): seeds and conditions are crossed (a hard condition is hard under every seed), so both are
resampled with replacement, independently of each other, and the middle 95 % of the resampled ratios is the
interval. It is mildly conservative, since the noise of single images enters through both ways (Owen and
Eckles, "Bootstrapping data arrays of arbitrary order", 2012, arXiv:1106.2125), except that a handful of seeds
shows too little of how seeds differ; with one seed only conditions are resampled. Not covered: training
again, the classifier's own mistakes, and failures never seen (if every image is right, the interval is the
point 1).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypedDict

import numpy as np
from numpy.typing import ArrayLike, NDArray

RESAMPLES = 2000


class Score(TypedDict):
    """A ratio in [0, 1] and the two ends of its 95 % interval."""

    mean: float
    ci95: list[float]


class Scores(TypedDict):
    """All scores of one list of conditions under one classifier, in the shape that `metrics.json` has."""

    micro: Score
    exact_match: Score
    by_object_count: dict[str, Score]
    by_object: dict[str, Score]


def top_k_hits(probabilities: ArrayLike, class_labels: ArrayLike) -> NDArray[np.bool_]:
    """Which asked objects are found among the top k outputs, k being the number of asked objects.

    Args:
        probabilities: (..., N, C), or any increasing function of them; ties go to the lower index.
        class_labels: (N, C) multi-hot.

    Returns:
        (..., N, C) bool, true where an object is asked and found.
    """
    outputs, asked = np.asarray(probabilities), np.asarray(class_labels) > 0
    order = np.argsort(-outputs, axis=-1, kind="stable")
    rank = np.argsort(order, axis=-1)
    return asked & (rank < asked.sum(axis=-1, keepdims=True))


def top_k(outputs: ArrayLike, k: int) -> NDArray[np.int64]:
    """The places of the k highest of (C,) outputs, highest first; ties go to the lower place."""
    return np.argsort(-np.asarray(outputs), kind="stable")[:k]


def labels_found(probabilities: ArrayLike, class_labels: ArrayLike) -> float:
    """Labels found / labels asked, as `micro`: for images with one label each, the accuracy of their class."""
    return float(top_k_hits(probabilities, class_labels).sum() / (np.asarray(class_labels) > 0).sum())


def summarise(hits: ArrayLike, class_labels: ArrayLike, labels: Sequence[str], resamples: int = RESAMPLES) -> Scores:
    """All scores of a list, with intervals.

    Args:
        hits: (S, N, C) bool from `top_k_hits`: S seeds of the N conditions.
        class_labels: (N, C) multi-hot, at least one object each.
        labels: The C names.
        resamples: How many times the bootstrap draws.

    Returns:
        Plain numbers, ready for JSON. Object counts and objects that no condition asks for are left out.
    """
    found = np.asarray(hits, dtype=np.float64)
    asked = (np.asarray(class_labels) > 0).astype(np.float64)
    found_sum, asked_sum = found.sum(axis=-1), asked.sum(axis=-1)
    bootstrap = Bootstrap(len(found), len(asked), resamples)
    by_object_count = {}
    for count in np.unique(asked_sum):
        chosen = asked_sum == count
        by_object_count[str(int(count))] = bootstrap.ratio(found_sum * chosen, asked_sum * chosen)
    return Scores(
        micro=bootstrap.ratio(found_sum, asked_sum),
        exact_match=bootstrap.ratio((found_sum == asked_sum).astype(np.float64), np.ones_like(asked_sum)),
        by_object_count=by_object_count,
        by_object={
            name: bootstrap.ratio(found[..., column], asked[:, column])
            for column, name in enumerate(labels)
            if asked[:, column].any()
        },
    )


class Bootstrap:
    """R draws of how often each seed and each condition is taken; the same draws serve every score.

    Args:
        seeds: S. A single seed is always taken once, since one draw says nothing about other seeds.
        conditions: N.
        resamples: R.
    """

    def __init__(self, seeds: int, conditions: int, resamples: int = RESAMPLES) -> None:
        rng = np.random.default_rng(0)  # fixed: the same hits always give the same interval
        self.seed_counts = self._draw(rng, seeds, resamples)
        self.condition_counts = self._draw(rng, conditions, resamples)

    @staticmethod
    def _draw(rng: np.random.Generator, count: int, resamples: int) -> NDArray[np.int64]:
        """(R, count): how often each of `count` things comes up in `count` draws with replacement."""
        return rng.multinomial(count, np.full(count, 1 / count), size=resamples)

    def ratio(self, found: NDArray[np.float64], asked: NDArray[np.float64]) -> Score:
        """Sum of `found` (S, N) over that of `asked`, with its interval.

        Args:
            found: Of each seed and condition.
            asked: (S, N), or (N,) where it is the same for every seed; not all zero.
        """
        asked = np.broadcast_to(asked, found.shape)
        resampled_found = ((self.seed_counts @ found) * self.condition_counts).sum(axis=1)
        resampled_asked = ((self.seed_counts @ asked) * self.condition_counts).sum(axis=1)
        possible = resampled_asked > 0  # a draw may miss every condition that asks for a rare object
        ratios = resampled_found[possible] / resampled_asked[possible]
        low, high = np.percentile(ratios, [2.5, 97.5])
        return Score(mean=float(found.sum() / asked.sum()), ci95=[float(low), float(high)])
