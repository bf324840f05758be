"""Training a classifier: a few steps on toy images, whole runs on a toy folder, the perturbations."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from conftest import save_random_classifiers
from lab_ddpm.cli import main
from lab_ddpm.data.conditions import encode
from lab_ddpm.data.iclevr import OBJECTS
from lab_ddpm.data.image_cache import ImageDataset
from lab_ddpm.data.images import Images, to_tensor, write_png
from lab_ddpm.evaluation.augmentation import PERTURBATIONS, augment
from lab_ddpm.evaluation.classifier_training import (
    split_scenes,
    train_classifier,
    train_iclevr_classifiers,
    train_image_classifier,
)
from lab_ddpm.evaluation.classifiers import CLASSIFIERS, load_classifier, predict
from lab_ddpm.evaluation.intervals import wilson_interval
from lab_ddpm.evaluation.measuring import perturbed
from lab_ddpm.evaluation.object_scores import top_k_hits
from lab_ddpm.evaluation.recipes import RECIPES, ROBUSTNESS_STRENGTHS
from lab_ddpm.tools.errors import DataError, UserError


def toy_images(count: int) -> tuple[Images, torch.Tensor]:
    """Gray images with one red or blue square, which stands for two of the objects."""
    rng = np.random.default_rng(0)
    images = np.full((count, 64, 64, 3), 120, dtype=np.uint8)
    names = []
    for image in images:
        blue = bool(rng.integers(2))
        x, y = rng.integers(8, 40, 2)
        image[y : y + 16, x : x + 16] = (42, 75, 215) if blue else (173, 35, 35)
        names.append(["blue cube" if blue else "red cube"])
    return images, encode(names, OBJECTS)


def toy_folder(root: Path, scenes: int) -> Path:
    images, class_labels = toy_images(scenes)
    train = {}
    for scene, (image, row) in enumerate(zip(images, class_labels, strict=True)):
        name = f"CLEVR_train_{scene:06d}_0.png"
        write_png(root / "images" / name, image)
        train[name] = [OBJECTS[int(row.argmax())]]
    (root / "train.json").write_text(json.dumps(train))
    return root


@pytest.mark.parametrize("name", PERTURBATIONS)
def test_perturbation_keeps_shape_and_is_drawn_from_the_generator(name: str) -> None:
    images = torch.rand(4, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    first, again = (
        PERTURBATIONS[name](images, ROBUSTNESS_STRENGTHS[name], torch.Generator().manual_seed(1)) for _ in "ab"
    )
    assert first.shape == images.shape
    assert first.isfinite().all()
    assert torch.equal(first, again)
    assert not torch.equal(first, images)


@pytest.mark.parametrize("name", sorted(set(PERTURBATIONS)))
def test_perturbation_of_no_strength_changes_nothing(name: str) -> None:
    images = torch.rand(4, 3, 64, 64)
    untouched = PERTURBATIONS[name](images, 0.0, torch.Generator().manual_seed(0))
    torch.testing.assert_close(untouched, images, atol=1e-4, rtol=0)


def with_share(share: float) -> dict[str, tuple[float, float]]:
    return {name: (share, strength) for name, strength in ROBUSTNESS_STRENGTHS.items()}


def test_augment_changes_the_given_share_and_stays_in_range() -> None:
    images, _ = toy_images(200)
    same = augment(images, with_share(0.0), torch.Generator().manual_seed(0))
    torch.testing.assert_close(same, to_tensor(images))
    some = augment(images, {"brightness": (0.25, 0.2)}, torch.Generator().manual_seed(0))
    changed = (some != same).flatten(1).any(dim=1).float().mean()
    assert 0.15 < changed < 0.35
    every = augment(images, with_share(1.0), torch.Generator().manual_seed(0))
    assert every.min() >= -1
    assert every.max() <= 1


def test_recipes_differ_and_use_every_perturbation() -> None:
    assert RECIPES.keys() == {*CLASSIFIERS, "images"}
    assert len({recipe.seed_offset for recipe in RECIPES.values()}) == len(RECIPES)
    assert RECIPES["resnet18"].changes != RECIPES["referee"].changes
    for strengths in (*(RECIPES[name].changes for name in CLASSIFIERS), ROBUSTNESS_STRENGTHS):
        assert list(strengths) == list(PERTURBATIONS)


def test_held_out_scenes_are_whole_and_the_last_ones() -> None:
    names = [f"CLEVR_train_{scene:06d}_{step}.png" for scene in range(40) for step in range(3)]
    kept, held_out = split_scenes(names)
    assert kept.tolist() == list(range(114))
    assert held_out.tolist() == list(range(114, 120))


def test_names_that_cannot_be_split() -> None:
    with pytest.raises(DataError, match=r"_SCENE_STEP\.png.*'cat\.png'"):
        split_scenes(["CLEVR_train_000000_0.png", "cat.png"])
    with pytest.raises(DataError, match="at least 2 scenes"):
        split_scenes(["CLEVR_train_000000_0.png", "CLEVR_train_000000_1.png"])


def test_training_learns_what_the_images_show() -> None:
    images, class_labels = toy_images(64)
    measured = images[:2], class_labels[:2]
    classifier = train_classifier(RECIPES["referee"], images, class_labels, *measured, epochs=20, seed=3, batch_size=16)
    hits = top_k_hits(predict(classifier, images), class_labels.numpy())
    assert hits.sum() > 0.9 * len(images)


def test_the_same_seed_gives_the_same_classifier() -> None:
    images, class_labels = toy_images(12)
    measured = images[:2], class_labels[:2]
    first, again, other = (
        train_classifier(RECIPES["referee"], images, class_labels, *measured, epochs=1, seed=seed, batch_size=6)
        for seed in (3, 3, 4)
    )
    np.testing.assert_array_equal(predict(first, images), predict(again, images))
    assert (predict(first, images) != predict(other, images)).any()


def test_whole_run_writes_weights_and_figures(tmp_path: Path) -> None:
    root = toy_folder(tmp_path / "data", 20)
    paths = train_iclevr_classifiers([root], None, tmp_path / "out", epochs=1)
    assert [path.name for path in paths] == ["resnet18.safetensors", "referee.safetensors"]
    for name in CLASSIFIERS:
        load_classifier(tmp_path / "out" / f"{name}.safetensors", OBJECTS)
        figures = json.loads((tmp_path / "out" / f"{name}.json").read_text())
        assert (figures["training_images"], figures["held_out_images"]) == (19, 1)
        assert 0 <= figures["clean"]["exact_match"]["mean"] <= figures["clean"]["micro"]["mean"] <= 1


def test_the_check_prints_a_row_for_every_perturbation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    save_random_classifiers()
    assert main(["check-classifier", "--root", str(toy_folder(tmp_path / "data", 3))]) == 0
    header, _, _, *rows = capsys.readouterr().out.splitlines()
    assert header.startswith("3 images, ")
    assert [row.split()[1] for row in rows] == ["as", *ROBUSTNESS_STRENGTHS]


def test_own_held_out_folder_leaves_every_image_for_training(tmp_path: Path) -> None:
    root, held_out = toy_folder(tmp_path / "data", 4), toy_folder(tmp_path / "held_out", 3)
    train_iclevr_classifiers([root], held_out, tmp_path, names=["referee"], epochs=1)
    figures = json.loads((tmp_path / "referee.json").read_text())
    assert (figures["training_images"], figures["held_out_images"]) == (4, 3)


@pytest.mark.parametrize("is_learnt", [True, False])
def test_a_classifier_that_only_guesses_is_said_to_be_worth_nothing(
    tmp_path: Path, is_learnt: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    images, class_labels = toy_images(64)
    shown = images[:, ::4, ::4] if is_learnt else np.full((64, 16, 16, 3), 120, dtype=np.uint8)
    toys = ImageDataset([str(index) for index in range(64)], shown, class_labels, OBJECTS, "squash", "")
    train_image_classifier(toys, toys, "toys", tmp_path, epochs=40)
    note = "best/ and scores by this classifier will mean nothing"
    assert (note in capsys.readouterr().out.splitlines()[-1]) == (not is_learnt)


def test_bad_arguments_are_refused_before_the_data_is_read(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="`classifier` must be one of"):
        train_iclevr_classifiers([tmp_path / "none"], None, tmp_path, names=["vgg"])
    with pytest.raises(UserError, match="`epochs` must be positive"):
        train_iclevr_classifiers([tmp_path / "none"], None, tmp_path, epochs=0)


def test_the_interval_of_a_share_is_wilsons() -> None:
    # Newcombe, "Two-sided confidence intervals for the single proportion", 1998, table I
    assert wilson_interval(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert wilson_interval(0, 20) == pytest.approx((0.0, 0.1611), abs=5e-5)


def test_perturbed_images_are_always_the_same() -> None:
    images, _ = toy_images(3)
    np.testing.assert_array_equal(perturbed(images, {"noise": (1.0, 0.1)}), perturbed(images, {"noise": (1.0, 0.1)}))
