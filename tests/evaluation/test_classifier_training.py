"""Training a classifier: a few steps on toy images, whole runs on a toy folder, the perturbations."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from lab_ddpm.cli import main
from lab_ddpm.data.conditions import encode
from lab_ddpm.data.iclevr import OBJECTS
from lab_ddpm.data.images import Images, to_tensor, write_png
from lab_ddpm.evaluation.classifier_training import split_scenes, train_and_save, train_classifier
from lab_ddpm.evaluation.classifiers import CLASSIFIERS, load_classifier, predict
from lab_ddpm.evaluation.perturbations import PERTURBATIONS, perturb
from lab_ddpm.evaluation.recipes import RECIPES
from lab_ddpm.evaluation.scores import top_k_hits
from lab_ddpm.tools.errors import DataError

STRENGTHS = {name: strength for name, (_, strength) in RECIPES["referee"].changes.items()}


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
def test_a_perturbation_is_drawn_from_the_generator_up_to_its_strength(name: str) -> None:
    images = torch.rand(4, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    strength = max(STRENGTHS[name], 0.05)
    first, again, none = (
        PERTURBATIONS[name](images, upto, torch.Generator().manual_seed(1)) for upto in (strength, strength, 0.0)
    )
    assert first.shape == images.shape
    assert first.isfinite().all()
    assert torch.equal(first, again)
    assert not torch.equal(first, images)
    torch.testing.assert_close(none, images, atol=1e-4, rtol=0)


def test_perturb_changes_the_given_share_and_stays_in_range() -> None:
    images = toy_images(200)[0][:, ::4, ::4]
    some = perturb(images, {"brightness": (0.25, 0.2)}, torch.Generator().manual_seed(0))
    changed = (some != to_tensor(images)).flatten(1).any(dim=1).float().mean()
    assert 0.15 < changed < 0.35
    every = perturb(images, {name: (1.0, s) for name, s in STRENGTHS.items()}, torch.Generator().manual_seed(0))
    assert every.abs().max() <= 1
    assert torch.equal(some, perturb(images, {"brightness": (0.25, 0.2)}, torch.Generator().manual_seed(0)))


def test_recipes_differ_and_use_every_perturbation() -> None:
    assert RECIPES.keys() == {*CLASSIFIERS, "images"}
    assert len({recipe.seed_offset for recipe in RECIPES.values()}) == len(RECIPES)
    assert RECIPES["resnet18"].changes != RECIPES["referee"].changes
    for name in CLASSIFIERS:
        assert list(RECIPES[name].changes) == list(PERTURBATIONS)


def test_held_out_scenes_are_whole_and_the_last_ones() -> None:
    names = [f"CLEVR_train_{scene:06d}_{step}.png" for scene in range(40) for step in range(3)]
    training, held_out = split_scenes(names)
    assert training.tolist() == list(range(114))
    assert held_out.tolist() == list(range(114, 120))
    for unusable in (["CLEVR_train_000000_0.png", "cat.png"], names[:2]):
        with pytest.raises(DataError):
            split_scenes(unusable)


def test_the_same_seed_gives_the_same_classifier() -> None:
    toys = toy_images(12)
    first, again, other = (train_classifier(RECIPES["referee"], toys, epochs=2, seed=seed) for seed in (3, 3, 4))
    np.testing.assert_array_equal(predict(first, toys[0]), predict(again, toys[0]))
    assert (predict(first, toys[0]) != predict(other, toys[0])).any()


def test_the_command_writes_both_classifiers_of_iclevr(tmp_path: Path) -> None:
    root, held_out = toy_folder(tmp_path / "data", 20), toy_folder(tmp_path / "held_out", 3)
    command = ["train-classifier", "--root", str(root), "--epochs", "1", "--out", str(tmp_path / "out")]
    assert main(command) == 0
    for name in CLASSIFIERS:
        load_classifier(tmp_path / "out" / f"{name}.safetensors", OBJECTS)
        figures = json.loads((tmp_path / "out" / f"{name}.json").read_text())
        assert (figures["training_images"], figures["held_out_images"]) == (19, 1)
        assert 0 <= figures["clean"]["exact_match"]["mean"] <= figures["clean"]["micro"]["mean"] <= 1
    before = (tmp_path / "out" / "referee.safetensors").read_bytes()
    assert main(command) == 1
    assert (tmp_path / "out" / "referee.safetensors").read_bytes() == before
    other = [*command[:-1], str(tmp_path / "other"), "--held-out", str(held_out), "--names", "referee"]
    assert main(other) == 0
    figures = json.loads((tmp_path / "other" / "referee.json").read_text())
    assert (figures["training_images"], figures["held_out_images"]) == (20, 3)


def test_training_learns_what_the_images_show(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    images, class_labels = toy_images(64)
    toys = images[:, ::4, ::4], class_labels
    path = train_and_save(RECIPES["images"], "toys", toys, toys, OBJECTS, tmp_path, epochs=30)
    hits = top_k_hits(predict(load_classifier(path, OBJECTS), toys[0]), class_labels)
    assert hits.sum() > 0.9 * len(images)
    assert "note: " not in capsys.readouterr().out


def test_a_classifier_that_only_guesses_is_noted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    toys = np.full((64, 16, 16, 3), 120, dtype=np.uint8), toy_images(64)[1]
    train_and_save(RECIPES["images"], "toys", toys, toys, OBJECTS, tmp_path, epochs=1)
    assert "note: " in capsys.readouterr().out


@pytest.mark.parametrize(
    "wrong",
    [
        ["--names", "vgg"],
        ["--epochs", "0"],
        ["--image-size", "32"],
        ["--dataset", "mnist", "--names", "referee"],
        ["--dataset", "mnist", "--names", "counter", "--held-out", "none"],
    ],
)
def test_wrong_arguments_are_refused_before_the_data_is_read(wrong: list[str], tmp_path: Path) -> None:
    assert main(["train-classifier", "--root", str(tmp_path / "none"), "--out", str(tmp_path / "out"), *wrong]) == 2
    assert not (tmp_path / "out").exists()
