"""`evaluate --against` and `train-classifier` on small files of a torchvision data set and on folders."""

import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from conftest import save_tiny_pipeline
from lab_ddpm.cli import main
from lab_ddpm.data import torchvision_data
from lab_ddpm.data.image_dataset import ImageDataset
from lab_ddpm.evaluation.classifiers import build_classifier, save_classifier
from lab_ddpm.evaluation.comparison import check_data
from lab_ddpm.generation.checkpoint import open_pipeline
from lab_ddpm.tools.errors import UserError
from real_formats import write_folder, write_mnist

SAMPLING = ["--steps", "1", "--num-images", "8", "--num-seeds", "2"]
MNIST = ["evaluate", "--against", "mnist", "--root", "digits", *SAMPLING]
FACES = ["evaluate", "--against", "folder", "--root", "faces", "--held-out", "other", *SAMPLING]
DISTANCES = {"frechet", "kernel", "precision", "recall"}


@pytest.fixture(autouse=True)
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(torchvision_data, "DEBIAN_FASHION_MNIST", Path("/absent"))


def metrics(folder: str = "distances") -> dict[str, Any]:
    return json.loads(Path(folder, "metrics.json").read_text(encoding="utf-8"))


def save_untrained(*names: str) -> None:
    for name in names:
        save_classifier(build_classifier("referee", 2), "referee", "evaluator", ("cat", "dog"), name)


def write_faces(*labels: str) -> None:
    for folder in ("faces", "other"):
        write_folder(Path(folder), labels, 12)


def test_a_conditional_model_is_compared_with_the_training_and_the_held_out_images() -> None:
    write_mnist(Path("digits"))
    train = ["train-classifier", "--dataset", "mnist", "--root", "digits", "--epochs", "1"]
    assert main(train) == 0
    assert main(train) == 1  # a file that exists is not overwritten
    figures = json.loads(Path("evaluator/mnist.json").read_text(encoding="utf-8"))
    assert (figures["training_images"], figures["held_out_images"]) == (12, 12)
    save_tiny_pipeline("runs/digits/best", 1, tuple(torchvision_data.datasets.MNIST.classes))
    assert main(MNIST) == 0
    content = metrics()
    assert content["scores"].keys() == content["held_out"].keys() == DISTANCES | {"labels_found"}
    assert content["features"] == "evaluator/mnist.safetensors"
    assert (content["seeds"], content["num_images"], content["conditional"]) == ([0, 1], 8, True)
    assert Path("distances/copies.png").is_file()
    assert main([*MNIST, "--unconditional", "--out", "none"]) == 0
    assert not metrics("none")["conditional"]
    assert metrics("none")["scores"].keys() == DISTANCES


def test_a_folder_needs_a_folder_of_held_out_images() -> None:
    write_faces("cat", "dog")
    train = ["train-classifier", "--dataset", "folder", "--root", "faces", "--epochs", "1", "--random-flip"]
    assert main(train) == 2
    assert main([*train, "--held-out", "other"]) == 0
    save_tiny_pipeline("runs/faces/best", 3)
    assert main(FACES) == 0
    assert metrics()["features"] == "evaluator/faces.safetensors"
    assert metrics()["data"] == {"against": "folder", "root": "faces", "held_out": "other"}
    assert main([*FACES, "--held-out", "other/../faces"]) == 2
    for file in Path("other").glob("[cd]*/*"):
        Image.open(file).convert("L").save(file)
    assert main([*FACES, "--out", "no"]) == 1
    Path("evaluator/faces.safetensors").unlink()
    assert main([*train, "--held-out", "other"]) == 1
    assert not Path("evaluator/faces.safetensors").exists()


def test_images_without_labels_are_compared_by_the_features_of_any_classifier(
    capsys: pytest.CaptureFixture[str],
) -> None:
    write_faces()
    assert main(["train-classifier", "--dataset", "folder", "--root", "faces"]) == 1
    colour, grey = (
        save_classifier(build_classifier("referee", 2, channels), "referee", "evaluator", ("cat", "dog"), name)
        for channels, name in ((3, "colour"), (1, "grey"))
    )
    save_tiny_pipeline("runs/faces/best", 3)
    assert main([*FACES, "--features", str(colour)]) == 0
    assert metrics()["scores"].keys() == DISTANCES
    assert main([*FACES, "--features", str(grey), "--out", "no"]) == 1
    assert "grey.safetensors" in capsys.readouterr().err
    save_tiny_pipeline("runs/pets/best", 3, ("cat", "dog"))
    asked = [*FACES, "--features", str(colour), "--checkpoint", "runs/pets/best", "--out", "no"]
    assert main(asked) == 2  # there are no labels to sample under
    assert main([*asked, "--unconditional"]) == 0


def test_a_model_of_other_labels_or_colours_is_refused() -> None:
    write_mnist(Path("digits"))
    save_untrained("mnist", "faces")
    save_tiny_pipeline("grey", 1, ("cat", "dog"))
    save_tiny_pipeline("colour", 3)
    for checkpoint in ("grey", "colour"):
        assert main([*MNIST, "--checkpoint", checkpoint]) == 2
    write_faces("cat", "dog")
    write_folder(Path("dogs"), ("dog",), 12)
    save_tiny_pipeline("pets", 3, ("cat", "dog"))
    assert main([*FACES, "--checkpoint", "pets", "--held-out", "dogs"]) == 1
    assert not Path("distances/metrics.json").exists()


@pytest.mark.parametrize(
    "arguments",
    [
        ["--against", "mnist"],
        ["--against", "imagenet", "--root", "digits"],
        ["--against", "mnist", "--root", "digits", "--held-out", "digits"],
        ["--against", "mnist", "--root", "digits", "--split", "test"],
        ["--against", "mnist", "--root", "digits", "--images", "digits"],
        ["--against", "mnist", "--root", "digits", "--num-images", "3"],
        ["--num-images", "8"],
        ["--unconditional"],
        ["--images", "digits", "--split", "test", "--steps", "9"],
        ["--images", "digits", "--split", "test", "--runtime", "torch"],
        ["--images", "digits"],
    ],
    ids=" ".join,
)
def test_options_that_do_not_go_together_are_refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    write_mnist(Path("digits"))
    save_untrained("mnist")
    save_tiny_pipeline("runs/digits/best", 1)
    assert main(["evaluate", *arguments]) == 2
    assert len([line for line in capsys.readouterr().err.splitlines() if line.startswith("lab-ddpm: ")]) == 1
    assert not list(Path().glob("*/metrics.json"))


def test_inception_needs_an_extra(capsys: pytest.CaptureFixture[str]) -> None:
    if find_spec("torch_fidelity"):
        pytest.skip("torch-fidelity is installed")
    write_mnist(Path("digits"))
    save_tiny_pipeline("runs/digits/best", 1)
    assert main([*MNIST, "--features", "inception"]) == 1
    assert "inception" in capsys.readouterr().err
    assert not list(Path("digits").rglob(".cache"))


def test_a_missing_classifier_is_noticed_before_images_are_decoded() -> None:
    write_mnist(Path("digits"))
    save_tiny_pipeline("runs/digits/best", 1)
    assert main(MNIST) == 1
    assert not list(Path("digits").rglob(".cache"))


def test_images_of_another_kind_are_not_compared(tmp_path: Path) -> None:
    grey = open_pipeline(save_tiny_pipeline(tmp_path, 1, ("a", "b")))

    def images(channels: int, labels: tuple[str, ...]) -> ImageDataset:
        array = np.zeros((2, 32, 32, channels), np.uint8)
        return ImageDataset(["0", "1"], array, torch.zeros(2, len(labels)), labels, "crop", "")

    check_data(grey, images(1, ("a", "b")))
    check_data(grey, images(1, ()))
    for other in (images(3, ("a", "b")), images(1, ("a", "c"))):
        with pytest.raises(UserError):
            check_data(grey, other)
