"""`train-classifier` and `evaluate-distribution` on small files of a torchvision data set and on a folder."""

import json
from importlib.util import find_spec
from pathlib import Path

import pytest

from conftest import save_tiny_pipeline
from lab_ddpm.cli import main
from lab_ddpm.data import torchvision_data
from lab_ddpm.evaluation.classifiers import build_classifier, save_classifier
from real_formats import write_folder, write_mnist

DIGITS = ["--dataset", "mnist", "--root", "digits"]
SAMPLING = ["--steps", "1", "--num-images", "8", "--num-seeds", "2"]


@pytest.fixture(autouse=True)
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(torchvision_data, "DEBIAN_FASHION_MNIST", Path("/absent"))
    write_mnist(tmp_path / "digits")
    return tmp_path


def test_a_conditional_model_is_compared_with_the_training_and_the_held_out_images() -> None:
    labels = tuple(torchvision_data.datasets.MNIST.classes)
    assert main(["train-classifier", *DIGITS, "--epochs", "1"]) == 0
    assert main(["train-classifier", *DIGITS, "--epochs", "1"]) == 1  # the one that is there is not overwritten
    figures = json.loads(Path("evaluator/mnist.json").read_text(encoding="utf-8"))
    assert (figures["training_images"], figures["held_out_images"]) == (12, 12)
    save_tiny_pipeline("runs/digits/best", 1, labels)
    assert main(["evaluate-distribution", *DIGITS, *SAMPLING]) == 0
    content = json.loads(Path("distribution/metrics.json").read_text(encoding="utf-8"))
    assert set(content["scores"]) == {"frechet", "kernel", "precision", "recall", "labels_found"}
    assert content["held_out"].keys() == content["scores"].keys()
    assert content["features"] == "evaluator/mnist.safetensors"
    assert (content["seeds"], content["num_images"], content["conditional"]) == ([0, 1], 8, True)
    assert Path("distribution/copies.png").is_file()
    assert main(["evaluate-distribution", *DIGITS, *SAMPLING, "--unconditional", "--out", "none"]) == 0
    content = json.loads(Path("none/metrics.json").read_text(encoding="utf-8"))
    assert not content["conditional"]
    assert "labels_found" not in content["scores"]


def test_a_folder_needs_a_folder_of_held_out_images(capsys: pytest.CaptureFixture[str]) -> None:
    write_folder(Path("pets"), ("cat", "dog"), 12)
    write_folder(Path("other"), ("cat", "dog"), 12)
    folder = ["--dataset", "folder", "--root", "pets"]
    assert main(["train-classifier", *folder, "--epochs", "1"]) == 2
    assert "`held-out` must be given for 'folder'" in capsys.readouterr().err
    assert main(["train-classifier", *folder, "--held-out", "other", "--epochs", "1"]) == 0
    save_tiny_pipeline("runs/pets/best", 3)
    assert main(["evaluate-distribution", *folder, "--held-out", "other", *SAMPLING]) == 0
    content = json.loads(Path("distribution/metrics.json").read_text(encoding="utf-8"))
    assert content["features"] == "evaluator/pets.safetensors"


def test_a_folder_without_images_or_labels_is_refused_before_a_held_out_one_is_asked_for(
    capsys: pytest.CaptureFixture[str],
) -> None:
    write_folder(Path("flat"), count=3)
    for root, message in (("absent", "no such folder of images"), ("flat", "a classifier learns labels")):
        assert main(["train-classifier", "--dataset", "folder", "--root", root]) == 1
        assert f"{root}: {message}" in capsys.readouterr().err


def test_what_does_not_fit_together_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train-classifier", *DIGITS, "--epochs", "1"]) == 0
    save_tiny_pipeline("runs/pets/best", 1, ("cat", "dog"))
    assert main(["evaluate-distribution", *DIGITS, *SAMPLING]) == 2
    assert "trained on other labels than these images have" in capsys.readouterr().err
    assert main(["evaluate-distribution", *DIGITS, "--held-out", "digits", *SAMPLING]) == 2
    assert "`held-out` must not be given for 'mnist'" in capsys.readouterr().err
    assert main(["evaluate-distribution", "--dataset", "imagenet", "--root", "digits", *SAMPLING]) == 2
    assert "`dataset` must be one of" in capsys.readouterr().err


def test_held_out_images_of_other_labels_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    write_folder(Path("pets"), ("cat", "dog"), 12)
    write_folder(Path("dogs"), ("dog",), 12)
    write_folder(Path("flat"), count=12)
    save_tiny_pipeline("runs/pets/best", 3, ("cat", "dog"))
    for held_out, labels in (("dogs", ["dog"]), ("flat", [])):
        folder = ["--dataset", "folder", "--root", "pets", "--held-out", held_out]
        assert main(["evaluate-distribution", *folder, *SAMPLING]) == 1
        message = f"the held-out images must have the labels ['cat', 'dog'] of the training images, got {labels}"
        assert message in capsys.readouterr().err


def test_a_model_of_colour_images_is_not_compared_with_grey_ones(capsys: pytest.CaptureFixture[str]) -> None:
    save_tiny_pipeline("runs/pets/best", 3)
    assert main(["evaluate-distribution", *DIGITS, *SAMPLING]) == 2
    assert "runs/pets/best makes colour images, and those to compare are grey" in capsys.readouterr().err
    assert main(["study-interpolation", *DIGITS]) == 2
    assert "makes colour images" in capsys.readouterr().err


def test_images_without_labels_are_compared_by_the_features_of_any_classifier() -> None:
    write_folder(Path("faces"), count=12)
    write_folder(Path("other"), count=12)
    path = save_classifier(build_classifier("referee", 2), "referee", "evaluator", ("cat", "dog"))
    save_tiny_pipeline("runs/faces/best", 3)
    folder = ["--dataset", "folder", "--root", "faces", "--held-out", "other", "--features", str(path)]
    assert main(["evaluate-distribution", *folder, *SAMPLING]) == 0
    content = json.loads(Path("distribution/metrics.json").read_text(encoding="utf-8"))
    assert set(content["scores"]) == {"frechet", "kernel", "precision", "recall"}


def test_a_conditional_model_cannot_be_asked_for_labels_that_images_have_none_of(
    capsys: pytest.CaptureFixture[str],
) -> None:
    write_folder(Path("faces"), count=12)
    write_folder(Path("other"), count=12)
    save_tiny_pipeline("runs/pets/best", 3, ("cat", "dog"))
    assert (
        main(["evaluate-distribution", "--dataset", "folder", "--root", "faces", "--held-out", "other", *SAMPLING]) == 2
    )
    assert "have no labels to ask the model for: `--unconditional`" in capsys.readouterr().err


def test_the_features_of_a_classifier_of_grey_images_are_none_of_colour_ones(
    capsys: pytest.CaptureFixture[str],
) -> None:
    write_folder(Path("faces"), count=12)
    write_folder(Path("other"), count=12)
    path = save_classifier(build_classifier("referee", 2, 1), "referee", "evaluator", ("cat", "dog"))
    save_tiny_pipeline("runs/faces/best", 3)
    folder = ["--dataset", "folder", "--root", "faces", "--held-out", "other", "--features", str(path)]
    assert main(["evaluate-distribution", *folder, *SAMPLING]) == 1
    assert "made for grey images, and these are colour" in capsys.readouterr().err


def test_inception_says_what_it_needs(capsys: pytest.CaptureFixture[str]) -> None:
    if find_spec("torch_fidelity"):
        pytest.skip("torch-fidelity is installed")
    save_tiny_pipeline("runs/digits/best", 1)
    assert main(["evaluate-distribution", *DIGITS, *SAMPLING, "--features", "inception"]) == 1
    assert "inception: needs the package torch-fidelity" in capsys.readouterr().err
