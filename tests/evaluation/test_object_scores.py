"""The scores against counts by hand and their invariants; the intervals against a known truth."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from lab_ddpm.data.conditions import encode
from lab_ddpm.data.iclevr import OBJECTS
from lab_ddpm.evaluation.object_scores import Score, Scores, summarise, top_k_hits


@st.composite
def lists(draw: st.DrawFn) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Probabilities (S, N, 24) of 1 to 3 seeds and multi-hot labels (N, 24) of 1 to 8 conditions."""
    conditions = draw(st.lists(st.sets(st.integers(0, 23), min_size=1, max_size=4), min_size=1, max_size=8))
    class_labels = np.zeros((len(conditions), 24))
    for row, condition in enumerate(conditions):
        class_labels[row, list(condition)] = 1
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    return rng.random((draw(st.integers(1, 3)), len(conditions), 24)), class_labels


def all_scores(scores: Scores) -> list[Score]:
    single = [scores["micro"], scores["exact_match"]]
    return [*single, *scores["by_object_count"].values(), *scores["by_object"].values()]


def test_scores_equal_a_count_by_hand() -> None:
    class_labels = encode([["red cube"], ["red cube", "cyan sphere"], ["gray cube", "gray sphere"]], OBJECTS).numpy()
    shown = encode([["red cube"], ["red cube", "cyan cube"], ["gray sphere", "gray cube"]], OBJECTS).numpy()
    scores = summarise(top_k_hits(shown[None], class_labels), class_labels, OBJECTS)
    assert scores["micro"]["mean"] == 4 / 5
    assert scores["exact_match"]["mean"] == 2 / 3
    by_count = {count: score["mean"] for count, score in scores["by_object_count"].items()}
    assert by_count == {"1": 1, "2": 3 / 4}
    by_object = {name: score["mean"] for name, score in scores["by_object"].items()}
    assert by_object == {"gray cube": 1, "red cube": 1, "gray sphere": 1, "cyan sphere": 0}
    assert json.loads(json.dumps(scores)) == scores


def test_exactly_k_outputs_count_even_in_a_tie() -> None:
    class_labels = np.eye(24)[[0, 23]]
    hits = top_k_hits(np.full((2, 24), 0.5), class_labels)
    assert hits.sum(axis=-1).tolist() == [1, 0]


@given(lists())
@settings(deadline=None)
def test_top_k_agrees_with_sorting_each_image(example: tuple) -> None:
    probabilities, class_labels = example
    hits = top_k_hits(probabilities, class_labels)
    for seed, row in np.ndindex(hits.shape[:2]):
        asked = set(np.flatnonzero(class_labels[row]))
        top = set(sorted(range(24), key=lambda column: -probabilities[seed, row, column])[: len(asked)])
        assert set(np.flatnonzero(hits[seed, row])) == asked & top


@given(lists())
@settings(deadline=None)
def test_perfect_probabilities_score_one(example: tuple) -> None:
    probabilities, class_labels = example
    perfect = np.broadcast_to(class_labels, probabilities.shape)
    scores = all_scores(summarise(top_k_hits(perfect, class_labels), class_labels, OBJECTS, resamples=50))
    assert all(score == {"mean": 1.0, "ci95": [1.0, 1.0]} for score in scores)


@given(lists())
@settings(deadline=None)
def test_intervals_are_ordered_and_contain_the_mean(example: tuple) -> None:
    probabilities, class_labels = example
    for score in all_scores(summarise(top_k_hits(probabilities, class_labels), class_labels, OBJECTS)):
        low, high = score["ci95"]
        assert 0 <= low <= score["mean"] <= high <= 1


@given(lists(), st.randoms(use_true_random=False))
@settings(deadline=None)
def test_means_do_not_depend_on_the_order_of_images_and_seeds(example: tuple, random: object) -> None:
    probabilities, class_labels = example
    seeds, rows = list(range(len(probabilities))), list(range(len(class_labels)))
    random.shuffle(seeds)  # pyright: ignore[reportAttributeAccessIssue]
    random.shuffle(rows)  # pyright: ignore[reportAttributeAccessIssue]
    before = summarise(top_k_hits(probabilities, class_labels), class_labels, OBJECTS, resamples=20)
    shuffled = top_k_hits(probabilities[seeds][:, rows], class_labels[rows])
    after = summarise(shuffled, class_labels[rows], OBJECTS, resamples=20)
    for one, other in zip(all_scores(before), all_scores(after), strict=True):
        assert one["mean"] == pytest.approx(other["mean"])
    assert before["by_object"].keys() == after["by_object"].keys()


@given(lists())
@settings(deadline=None)
def test_micro_is_the_average_of_its_parts(example: tuple) -> None:
    probabilities, class_labels = example
    scores = summarise(top_k_hits(probabilities, class_labels), class_labels, OBJECTS, resamples=20)
    weights = {name: class_labels[:, OBJECTS.index(name)].sum() for name in scores["by_object"]}
    total = sum(scores["by_object"][name]["mean"] * weight for name, weight in weights.items())
    assert scores["micro"]["mean"] == pytest.approx(total / class_labels.sum())


def crossed_hits(
    rng: np.random.Generator, seeds: int, conditions: int, seed_effect: float
) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """Single objects found half the time on average, under hard conditions and bad seeds less often."""
    logit = rng.normal(0, seed_effect, (seeds, 1)) + rng.normal(0, 2, conditions)
    found = rng.random((seeds, conditions)) < 1 / (1 + np.exp(-logit))
    class_labels = np.eye(24)[rng.integers(24, size=conditions)]
    return found[..., None] & (class_labels > 0), class_labels


@pytest.mark.parametrize(("seeds", "seed_effect", "least"), [(8, 0.0, 0.9), (16, 0.5, 0.88), (1, 0.0, 0.9)])
def test_interval_covers_the_truth_about_as_often_as_it_says(seeds: int, seed_effect: float, least: float) -> None:
    rng = np.random.default_rng(1)
    covered = 0
    for _ in range(200):
        low, high = summarise(*crossed_hits(rng, seeds, 64, seed_effect), OBJECTS, resamples=200)["micro"]["ci95"]
        covered += low <= 0.5 <= high
    assert covered / 200 >= least


def test_interval_is_not_the_naive_one_over_images() -> None:
    """32 seeds of 16 conditions are far from 512 independent images."""
    hits, class_labels = crossed_hits(np.random.default_rng(2), 32, 16, 0.0)
    score = summarise(hits, class_labels, OBJECTS)["micro"]
    naive = 2 * 1.96 * np.sqrt(score["mean"] * (1 - score["mean"]) / (32 * 16))
    assert score["ci95"][1] - score["ci95"][0] > 2 * naive


def test_the_same_hits_give_the_same_interval() -> None:
    hits, class_labels = crossed_hits(np.random.default_rng(3), 4, 32, 0.5)
    assert summarise(hits, class_labels, OBJECTS) == summarise(hits, class_labels, OBJECTS)
