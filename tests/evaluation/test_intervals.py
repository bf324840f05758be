"""The interval of a mean against the table of Student's distribution."""

import numpy as np
import pytest

from lab_ddpm.evaluation.intervals import as_text, mean_interval


def test_the_interval_is_the_one_of_student() -> None:
    # t(0.975, 2 degrees of freedom) = 4.3027; standard deviation 1, three values
    expected = [2 - 4.3027 / 3**0.5, 2 + 4.3027 / 3**0.5]
    assert mean_interval([1.0, 2.0, 3.0]) == {"mean": 2, "ci95": pytest.approx(expected, abs=1e-3)}


def test_one_value_has_no_interval() -> None:
    assert mean_interval([0.5]) == {"mean": 0.5, "ci95": None}


def test_as_text() -> None:
    assert as_text({"mean": 0.81234, "ci95": [0.7, 0.9]}) == "0.812 [0.7, 0.9]"
    assert as_text({"mean": 0.5, "ci95": None}, ".2f") == "0.50"


def test_95_of_100_intervals_hold_the_truth() -> None:
    random = np.random.default_rng(0)
    intervals = [mean_interval(random.normal(3, 2, size=4).tolist())["ci95"] for _ in range(2000)]
    held = np.mean([low < 3 < high for low, high in intervals if low is not None])
    assert held == pytest.approx(0.95, abs=0.015)
