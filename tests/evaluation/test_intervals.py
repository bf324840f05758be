"""Intervals against published tables and against a known truth."""

import numpy as np
import pytest
from numpy.typing import NDArray

from lab_ddpm.evaluation.intervals import Bootstrap, Score, as_text, mean_interval, share_interval


def test_the_interval_of_a_mean_is_student_s() -> None:
    # t(0.975, 2 degrees of freedom) = 4.3027; standard deviation 1, three values
    expected = [2 - 4.3027 / 3**0.5, 2 + 4.3027 / 3**0.5]
    assert mean_interval([1.0, 2.0, 3.0]) == {"mean": 2, "ci95": pytest.approx(expected, abs=1e-3)}
    assert mean_interval([0.5]) == {"mean": 0.5, "ci95": None}


def test_the_interval_of_a_share_is_wilson_s() -> None:
    # Newcombe, "Two-sided confidence intervals for the single proportion", 1998, table I
    assert share_interval(81, 263) == {"mean": 81 / 263, "ci95": pytest.approx([0.2553, 0.3662], abs=5e-5)}
    assert share_interval(0, 20) == {"mean": 0, "ci95": pytest.approx([0.0, 0.1611], abs=5e-5)}


def test_as_text() -> None:
    assert as_text({"mean": 0.81234, "ci95": [0.7, 0.9]}) == "0.812 [0.7, 0.9]"
    assert as_text({"mean": 0.5, "ci95": None}, ".2f") == "0.50"


def crossed(rng: np.random.Generator, seeds: int, conditions: int, seed_effect: float) -> NDArray[np.float64]:
    """Objects found half the time on average, under hard conditions and bad seeds less often."""
    logit = rng.normal(0, seed_effect, (seeds, 1)) + rng.normal(0, 2, conditions)
    return (rng.random((seeds, conditions)) < 1 / (1 + np.exp(-logit))).astype(np.float64)


def bootstrap(found: NDArray[np.float64]) -> Score:
    return Bootstrap(*found.shape).ratio(found, np.ones(found.shape[1]))


@pytest.mark.parametrize(("seeds", "seed_effect", "least"), [(8, 0.0, 0.9), (16, 0.5, 0.88), (1, 0.0, 0.9)])
def test_the_bootstrap_covers_the_truth_about_as_often_as_it_says(seeds: int, seed_effect: float, least: float) -> None:
    rng = np.random.default_rng(1)
    held = 0
    for _ in range(200):
        low, high = bootstrap(crossed(rng, seeds, 64, seed_effect))["ci95"] or (1, 0)
        held += low <= 0.5 <= high
    assert held / 200 >= least


def test_the_bootstrap_is_wider_than_an_interval_of_independent_images() -> None:
    """32 seeds of 16 conditions are far from 512 independent images."""
    found = crossed(np.random.default_rng(2), 32, 16, 0.0)
    score = bootstrap(found)
    low, high = score["ci95"] or (0, 0)
    naive_low, naive_high = share_interval(int(found.sum()), found.size)["ci95"] or (0, 0)
    assert high - low > 2 * (naive_high - naive_low)
    assert bootstrap(found) == score
