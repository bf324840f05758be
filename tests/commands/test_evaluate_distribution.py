"""`train-evaluator` and `evaluate-distribution` on small files of a torchvision data set and on a folder."""

import json
from pathlib import Path

import pytest

from conftest import save_tiny_pipeline
from lab_ddpm.cli import main
from lab_ddpm.commands.evaluate_distribution import some_held_out, summary
from lab_ddpm.data import torchvision_data
from lab_ddpm.data.picture_folder import open_folder
from real_formats import write_folder, write_mnist

DIGITS = ["--dataset", "mnist", "--root", "digits"]
SAMPLING = ["--steps", "1", "--num-pictures", "8", "--num-seeds", "2"]


@pytest.fixture(autouse=True)
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(torchvision_data, "DEBIAN_FASHION_MNIST", Path("/absent"))
    write_mnist(tmp_path / "digits")
    return tmp_path


def test_a_conditional_model_is_compared_with_the_training_and_the_held_out_pictures() -> None:
    labels = tuple(torchvision_data.datasets.MNIST.classes)
    assert main(["train-evaluator", *DIGITS, "--epochs", "1"]) == 0
    figures = json.loads(Path("evaluator/mnist.json").read_text(encoding="utf-8"))
    assert (figures["training_pictures"], figures["held_out_pictures"]) == (12, 12)
    save_tiny_pipeline("runs/digits/best", 1, labels)
    assert main(["evaluate-distribution", *DIGITS, *SAMPLING]) == 0
    content = json.loads(Path("distribution/metrics.json").read_text(encoding="utf-8"))
    assert set(content["scores"]) == {"frechet", "kernel", "precision", "recall", "class_accuracy"}
    assert content["held_out"].keys() == content["scores"].keys()
    assert content["features"] == "evaluator/mnist.safetensors"
    assert (content["seeds"], content["num_pictures"], content["conditional"]) == ([0, 1], 8, True)
    assert Path("distribution/copies.png").is_file()
    assert main(["evaluate-distribution", *DIGITS, *SAMPLING, "--unconditional", "--out", "none"]) == 0
    content = json.loads(Path("none/metrics.json").read_text(encoding="utf-8"))
    assert not content["conditional"]
    assert "class_accuracy" not in content["scores"]


def test_a_folder_needs_a_folder_of_held_out_pictures(capsys: pytest.CaptureFixture[str]) -> None:
    write_folder(Path("pets"), ("cat", "dog"), 12)
    write_folder(Path("other"), ("cat", "dog"), 12)
    folder = ["--dataset", "folder", "--root", "pets"]
    assert main(["train-evaluator", *folder, "--epochs", "1"]) == 2
    assert "`held-out` must be given for 'folder'" in capsys.readouterr().err
    assert main(["train-evaluator", *folder, "--held-out", "other", "--epochs", "1"]) == 0
    save_tiny_pipeline("runs/pets/best", 3)
    assert main(["evaluate-distribution", *folder, "--held-out", "other", *SAMPLING]) == 0
    content = json.loads(Path("distribution/metrics.json").read_text(encoding="utf-8"))
    assert content["features"] == "evaluator/pets.safetensors"


def test_held_out_pictures_are_taken_from_all_classes(tmp_path: Path) -> None:
    write_folder(tmp_path / "sorted", ("ant", "bee", "cat", "dog"), 40)
    _, class_labels = some_held_out(open_folder(tmp_path / "sorted", 8), 20)
    assert len(class_labels) == 20
    assert class_labels.any(dim=0).all()


def test_what_does_not_fit_together_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train-evaluator", *DIGITS, "--epochs", "1"]) == 0
    save_tiny_pipeline("runs/pets/best", 1, ("cat", "dog"))
    assert main(["evaluate-distribution", *DIGITS, *SAMPLING]) == 2
    assert "trained on other labels than those of digits" in capsys.readouterr().err
    assert main(["evaluate-distribution", *DIGITS, "--held-out", "digits", *SAMPLING]) == 2
    assert "`held-out` must not be given for 'mnist'" in capsys.readouterr().err
    assert main(["evaluate-distribution", "--dataset", "imagenet", "--root", "digits", *SAMPLING]) == 2
    assert "`dataset` must be one of" in capsys.readouterr().err
    assert main(["evaluate"]) == 1
    assert "no such" in capsys.readouterr().err


def test_the_interval_of_seeds_is_the_one_of_student() -> None:
    assert summary([0.5]) == {"mean": 0.5, "ci95": None}
    # t(0.975, 2 degrees of freedom) = 4.3027; standard deviation 1, three values
    assert summary([1.0, 2.0, 3.0])["ci95"] == pytest.approx([2 - 4.3027 / 3**0.5, 2 + 4.3027 / 3**0.5], abs=1e-3)
