"""Images that are there are scored by what a classifier finds of what each was to show."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from conftest import save_random_classifiers
from lab_ddpm import LabelConditionalPipeline, score
from lab_ddpm.data.conditions import Condition, encode, load_labels
from lab_ddpm.data.iclevr import OBJECTS
from lab_ddpm.data.images import Images, read_image, resize_images
from lab_ddpm.evaluation.classifiers import CLASSIFIERS, build_classifier, load_classifier, predict, save_classifier
from lab_ddpm.evaluation.object_scores import summarise, top_k_hits
from lab_ddpm.evaluation.score import score_seeds
from lab_ddpm.iclevr.replica.renderer import render_image
from lab_ddpm.iclevr.replica.scenes import sample_scene
from lab_ddpm.tools.errors import DataError, UserError

CONDITIONS = ["red cube, cyan sphere", "gray cylinder", "red cube"]


def noise(count: int, size: int = 16) -> Images:
    return np.random.default_rng(0).integers(0, 256, (count, size, size, 3), dtype=np.uint8)


@pytest.fixture(autouse=True)
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No classifiers of one's own: the shipped ones are asked."""
    monkeypatch.chdir(tmp_path)


def test_the_shipped_classifiers_find_what_a_image_shows_and_nothing_else() -> None:
    scene = sample_scene(0, 0)
    shown, others = scene.names(2), [name for name in OBJECTS if name not in scene.names(2)]
    image = render_image(scene, 2)
    for classifier in CLASSIFIERS:
        assert score([Image.fromarray(image)], [shown], classifier)["exact_match"]["mean"] == 1
        assert score(image[None], [others[:1]], classifier)["micro"]["mean"] == 0


def test_scores_are_those_of_the_conditions_that_were_asked_for() -> None:
    scores = score(noise(3), CONDITIONS)
    assert scores.keys() == {"micro", "exact_match", "by_object_count", "by_object"}
    assert scores["by_object_count"].keys() == {"1", "2"}
    assert list(scores["by_object"]) == ["red cube", "cyan sphere", "gray cylinder"]
    for part in (scores["micro"], scores["exact_match"], *scores["by_object"].values()):
        low, high = part["ci95"]
        assert 0 <= low <= part["mean"] <= high <= 1


@pytest.mark.parametrize("classifier", CLASSIFIERS)
def test_a_score_is_what_the_named_classifier_finds(classifier: str) -> None:
    images, class_labels = noise(40, 64), encode([(name,) for name in OBJECTS * 2][:40], OBJECTS)
    probabilities = predict(load_classifier(f"evaluator/{classifier}.safetensors", OBJECTS), images)
    expected = summarise(top_k_hits(probabilities, class_labels)[None], class_labels, OBJECTS)
    assert score(images, (OBJECTS * 2)[:40], classifier) == expected
    best = [OBJECTS[column] for column in probabilities.argmax(axis=1)]
    assert score(images, best, classifier)["micro"]["mean"] == 1
    worst = [OBJECTS[column] for column in probabilities.argmin(axis=1)]
    assert score(images, worst, classifier)["micro"]["mean"] == 0


def test_the_referee_is_asked_where_no_classifier_is_named() -> None:
    probabilities = predict(load_classifier("evaluator/referee.safetensors", OBJECTS), noise(3, 64))
    best = [OBJECTS[column] for column in probabilities.argmax(axis=1)]
    assert score(noise(3, 64), best)["micro"]["mean"] == 1


def test_ones_own_classifier_of_the_working_folder_is_asked_first() -> None:
    save_random_classifiers()
    probabilities = predict(load_classifier("evaluator/referee.safetensors", OBJECTS), noise(8, 64))
    best = [OBJECTS[column] for column in probabilities.argmax(axis=1)]
    assert score(noise(8, 64), best)["micro"]["mean"] == 1


@pytest.mark.parametrize("size", [16, 64, 100])
def test_images_in_pillow_in_arrays_and_in_files_score_the_same(size: int, tmp_path: Path) -> None:
    conditions = [(name,) for name in OBJECTS]
    images = noise(24, size)
    pillow = [Image.fromarray(image) for image in images]
    for number, image in enumerate(pillow):
        image.save(tmp_path / f"{number}.png")
    files = np.stack([read_image(tmp_path / f"{number}.png", 64) for number in range(24)])
    assert score(pillow, conditions) == score(images, conditions) == score(files, conditions)


def test_what_the_pipeline_returns_is_scored_in_every_form(tiny_pipeline: LabelConditionalPipeline) -> None:
    tiny_pipeline.set_progress_bar_config(disable=True)
    conditions = [(name,) for name in OBJECTS]
    pil, array, tensor = (
        tiny_pipeline(conditions, 2, seed=0, output_type=output_type) for output_type in ("pil", "np", "pt")
    )
    images = np.stack([np.asarray(image) for image in pil.images])
    referee = load_classifier("evaluator/referee.safetensors", OBJECTS)
    best = [OBJECTS[column] for column in predict(referee, resize_images(images, 64)).argmax(axis=1)]
    for form in (pil, pil.images, array, array.images, tensor, tensor.images):
        assert score(form, best)["micro"]["mean"] == 1
        assert score(form, conditions) == score(images, conditions)


def test_pillow_images_of_other_modes_are_read_as_colour() -> None:
    pillow = [Image.fromarray(image) for image in noise(3)]
    assert score([image.convert("RGBA") for image in pillow], CONDITIONS) == score(pillow, CONDITIONS)
    grey = [image.convert("L") for image in pillow]
    assert score(grey, CONDITIONS) == score([image.convert("RGB") for image in grey], CONDITIONS)


def test_a_condition_is_a_text_or_a_list_of_names() -> None:
    names = [("red cube", "cyan sphere"), ["gray cylinder"], ("red cube",)]
    assert score(noise(3), names) == score(noise(3), CONDITIONS)
    rows = encode(names, OBJECTS)
    assert score(noise(3), rows) == score(noise(3), rows.numpy()) == score(noise(3), CONDITIONS)


@pytest.mark.parametrize(("images", "conditions"), [(2, 3), (3, 2), (0, 0)])
def test_another_number_of_conditions_than_of_images_is_refused(images: int, conditions: int) -> None:
    rule = f"one condition per image, got {conditions} for {images} images"
    for given in (noise(images), [Image.fromarray(image) for image in noise(images)]):
        with pytest.raises(UserError, match=rule):
            score(given, CONDITIONS[:conditions])


@pytest.mark.parametrize(
    ("condition", "rule"),
    [
        ("red cube, red cone", "an object must be one of .*got 'red cone'"),
        ("red cube, red cube", "must not name an object twice"),
        ((), "must name at least one object, got an empty one"),
        ("", "an object must be one of .*got ''"),
    ],
)
def test_a_wrong_condition_is_refused_with_the_rule(condition: str | Condition, rule: str) -> None:
    with pytest.raises(UserError, match=rule):
        score(noise(1), [condition])


def test_a_classifier_that_is_not_there_or_of_other_objects_is_refused() -> None:
    with pytest.raises(DataError, match=r"judge\.safetensors: no such classifier"):
        score(noise(3), CONDITIONS, "judge")
    save_classifier(build_classifier("referee", 2), "referee", "evaluator", ("cat", "dog"))
    with pytest.raises(DataError, match="made for the labels cat, dog, not for gray cube"):
        score(noise(3), CONDITIONS)


def test_the_scores_of_seeds_are_those_of_each_seed_taken_together(tiny_dataset: Path) -> None:
    labels = load_labels(tiny_dataset / "train.json", OBJECTS)
    names = sorted(labels)[:9]
    conditions = [labels[name] for name in names]
    own = np.stack([read_image(tiny_dataset / "images" / name, 24) for name in names])
    seeds = [own, noise(9, 24)]
    referee = load_classifier("evaluator/referee.safetensors", OBJECTS)
    scores = score_seeds(np.concatenate(seeds), encode(conditions, OBJECTS), {"one": referee, "other": referee})
    assert scores["one"] == scores["other"]
    each = [score(images, conditions) for images in seeds]
    for key in ("micro", "exact_match"):
        assert scores["one"][key]["mean"] == pytest.approx(sum(part[key]["mean"] for part in each) / 2)
    single = score_seeds(own, encode(conditions, OBJECTS), {"one": referee})["one"]
    assert single == score(own, conditions)


@pytest.mark.parametrize(
    ("images", "conditions", "message"),
    [
        (noise(1)[0], ["red cube"], r"a list of Pillow's, .*, got uint8 of \(16, 16, 3\)"),
        (np.zeros((1, 16, 16, 2), np.uint8), ["red cube"], r"got uint8 of \(1, 16, 16, 2\)"),
        (np.zeros((1, 16, 16, 3), np.int64), ["red cube"], r"got int64 of \(1, 16, 16, 3\)"),
        (np.full((1, 16, 16, 3), 1.5), ["red cube"], r"got float64 of \(1, 16, 16, 3\)"),
        (torch.full((1, 3, 16, 16), -0.5), ["red cube"], r"got torch.float32 of \(1, 3, 16, 16\)"),
        (torch.zeros(3, 16, 16), ["red cube"], r"got torch.float32 of \(3, 16, 16\)"),
        (Image.new("RGB", (16, 16)), ["red cube"], "got a Image"),
        ("00.png", ["red cube"], "got a str"),
        (["00.png"], ["red cube"], "got a list"),
        (7, ["red cube"], "got a int"),
        (noise(1), torch.zeros(1, 24), "must name at least one object, got an empty one"),
        (noise(2), torch.ones(2, 2, 24), r"must be \(N, 24\) rows, got \(2, 2, 24\)"),
        (noise(1), [[1] + [0] * 23], "rows of numbers one .* array"),
        (np.zeros((8, 64, 64, 3), np.uint8), "red cube", "must be a list with one entry per image"),
    ],
)
def test_other_arrays_and_texts_are_refused(images: Any, conditions: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        score(images, conditions)
