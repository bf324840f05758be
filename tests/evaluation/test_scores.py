"""Scores against counts by hand and their invariants; images of every form are scored alike."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from lab_ddpm import LabelConditionalPipeline, score
from lab_ddpm.data.conditions import encode
from lab_ddpm.data.iclevr import OBJECTS
from lab_ddpm.data.images import Images, read_image
from lab_ddpm.evaluation.classifiers import CLASSIFIERS, build_classifier, load_classifier, predict, save_classifier
from lab_ddpm.evaluation.intervals import Score
from lab_ddpm.evaluation.scores import Scores, found_in, score_seeds, summarize, top_k_hits
from lab_ddpm.iclevr.replica.renderer import render_image
from lab_ddpm.iclevr.replica.scenes import sample_scene
from lab_ddpm.tools.errors import DataError, UserError

CONDITIONS = ["red cube, cyan sphere", "gray cylinder", "red cube"]
SINGLE = [(name,) for name in OBJECTS]


@pytest.fixture(autouse=True)
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder without classifiers, so that the shipped ones are used."""
    monkeypatch.chdir(tmp_path)


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


def noise(count: int, size: int = 16) -> Images:
    return np.random.default_rng(0).integers(0, 256, (count, size, size, 3), dtype=np.uint8)


def test_the_shipped_classifiers_find_what_an_image_shows_and_nothing_else() -> None:
    scene = sample_scene(0, 0)
    image = render_image(scene, 2)[None]
    absent = next(name for name in OBJECTS if name not in scene.names(2))
    for classifier in CLASSIFIERS:
        assert score(image, [tuple(scene.names(2))], classifier)["exact_match"]["mean"] == 1
        assert score(image, [(absent,)], classifier)["micro"]["mean"] == 0


def test_scores_equal_a_count_by_hand() -> None:
    class_labels = encode([["red cube"], ["red cube", "cyan sphere"], ["gray cube", "gray sphere"]], OBJECTS).numpy()
    shown = encode([["red cube"], ["red cube", "cyan cube"], ["gray sphere", "gray cube"]], OBJECTS).numpy()
    scores = summarize(top_k_hits(shown[None], class_labels), class_labels, OBJECTS)
    assert scores["micro"]["mean"] == 4 / 5
    assert scores["exact_match"]["mean"] == 2 / 3
    by_count = {count: score["mean"] for count, score in scores["by_object_count"].items()}
    assert by_count == {"1": 1, "2": 3 / 4}
    by_object = {name: score["mean"] for name, score in scores["by_object"].items()}
    assert by_object == {"gray cube": 1, "red cube": 1, "gray sphere": 1, "cyan sphere": 0}
    assert json.loads(json.dumps(scores)) == scores


def test_exactly_k_outputs_count_even_in_a_tie() -> None:
    hits = top_k_hits(np.full((2, 24), 0.5), np.eye(24)[[0, 23]])
    assert hits.sum(axis=-1).tolist() == [1, 0]


@given(lists())
def test_scores_agree_with_sorting_each_image_and_their_intervals_contain_them(example: tuple) -> None:
    probabilities, class_labels = example
    hits = top_k_hits(probabilities, class_labels)
    for seed, row in np.ndindex(hits.shape[:2]):
        asked = set(np.flatnonzero(class_labels[row]))
        top = set(sorted(range(24), key=lambda column: -probabilities[seed, row, column])[: len(asked)])
        assert set(np.flatnonzero(hits[seed, row])) == asked & top
    scores = summarize(hits, class_labels, OBJECTS)
    for single in all_scores(scores):
        low, high = single["ci95"] or (1, 0)
        assert 0 <= low <= single["mean"] <= high <= 1
    perfect = summarize(top_k_hits(class_labels[None], class_labels), class_labels, OBJECTS)
    assert all(single == {"mean": 1.0, "ci95": [1.0, 1.0]} for single in all_scores(perfect))
    weights = {name: class_labels[:, OBJECTS.index(name)].sum() for name in scores["by_object"]}
    total = sum(scores["by_object"][name]["mean"] * weight for name, weight in weights.items())
    assert scores["micro"]["mean"] == pytest.approx(total / class_labels.sum())


@pytest.mark.parametrize("classifier", [*CLASSIFIERS, None])
def test_the_score_is_what_the_classifier_finds(classifier: str | None) -> None:
    images, class_labels = noise(24, 64), torch.eye(24)
    network = load_classifier(f"evaluator/{classifier or 'referee'}.safetensors", OBJECTS)
    probabilities = predict(network, images)
    chosen = {} if classifier is None else {"classifier": classifier}
    scores = score(images, SINGLE, **chosen)
    assert scores == summarize(top_k_hits(probabilities, class_labels)[None], class_labels, OBJECTS)
    assert found_in(network, images, class_labels)["micro"]["mean"] == scores["micro"]["mean"]
    for places, expected in ((probabilities.argmax(axis=1), 1), (probabilities.argmin(axis=1), 0)):
        assert score(images, [OBJECTS[place] for place in places], **chosen)["micro"]["mean"] == expected


@pytest.mark.parametrize("size", [16, 100])
def test_images_of_every_form_score_the_same(size: int, tmp_path: Path) -> None:
    images = noise(24, size)
    pillow = [Image.fromarray(image) for image in images]
    for number, image in enumerate(pillow):
        image.save(tmp_path / f"{number}.png")
    files = np.stack([read_image(tmp_path / f"{number}.png", 64) for number in range(24)])
    expected = score(files, SINGLE)
    for form in (images, pillow, [image.convert("RGBA") for image in pillow]):
        assert score(form, SINGLE) == expected
    forms: list[Any] = [SINGLE, OBJECTS, [list(names) for names in SINGLE], torch.eye(24), np.eye(24)]
    for conditions in forms:
        assert score(images, conditions) == expected


def test_what_the_pipeline_returns_is_scored(tiny_pipeline: LabelConditionalPipeline) -> None:
    tiny_pipeline.set_progress_bar_config(disable=True)
    outputs: list[Any] = [tiny_pipeline(SINGLE, 2, seed=0, output_type=kind) for kind in ("pil", "np", "pt")]
    images = np.stack([np.asarray(image) for image in outputs[0].images])
    for output in outputs:
        assert score(output, SINGLE) == score(output.images, SINGLE) == score(images, SINGLE)


def test_the_scores_of_seeds_are_those_of_each_seed_taken_together() -> None:
    seeds = [noise(24, 64), noise(48, 64)[24:]]
    referee = load_classifier("evaluator/referee.safetensors", OBJECTS)
    scores = score_seeds(np.concatenate(seeds), torch.eye(24), {"one": referee, "other": referee})
    assert scores["one"] == scores["other"]
    each = [score(images, SINGLE)["micro"]["mean"] for images in seeds]
    assert scores["one"]["micro"]["mean"] == pytest.approx(sum(each) / 2)


def test_a_classifier_that_is_missing_or_of_other_labels_is_refused() -> None:
    with pytest.raises(DataError, match=r"unknown\.safetensors"):
        score(noise(3), CONDITIONS, "unknown")
    save_classifier(build_classifier("referee", 2), "referee", "evaluator", ("cat", "dog"))
    with pytest.raises(DataError, match="cat, dog"):
        score(noise(3), CONDITIONS)


@pytest.mark.parametrize(
    ("images", "conditions"),
    [
        (noise(2), CONDITIONS),
        (noise(0), []),
        (noise(1), ["red cube, red cone"]),
        (noise(1), ["red cube, red cube"]),
        (noise(1), [()]),
        (noise(1)[0], ["red cube"]),
        (np.zeros((1, 16, 16, 2), np.uint8), ["red cube"]),
        (np.zeros((1, 16, 16, 3), np.int64), ["red cube"]),
        (np.full((1, 16, 16, 3), 1.5), ["red cube"]),
        (torch.full((1, 3, 16, 16), -0.5), ["red cube"]),
        (Image.new("RGB", (16, 16)), ["red cube"]),
        (["00.png"], ["red cube"]),
        (noise(1), torch.zeros(1, 24)),
        (noise(2), torch.ones(2, 2, 24)),
        (noise(8, 64), "red cube"),
    ],
)
def test_other_images_and_conditions_are_refused_in_one_line(images: Any, conditions: Any) -> None:
    with pytest.raises(UserError) as caught:
        score(images, conditions)
    assert "\n" not in str(caught.value)
