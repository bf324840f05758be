"""What best/ is chosen by, for each kind of images and with or without a classifier of them."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from torch import nn

from conftest import save_random_classifiers, tiny_arguments
from lab_ddpm.cli import main
from lab_ddpm.data.conditions import encode, every_label
from lab_ddpm.data.image_folder import open_folder
from lab_ddpm.diffusion.sampling import image_seeds
from lab_ddpm.evaluation.classifiers import Features, build_classifier, load_classifier, save_classifier
from lab_ddpm.evaluation.distances import compare, extract
from lab_ddpm.evaluation.scores import found_in
from lab_ddpm.generation.checkpoint import load_pipeline
from lab_ddpm.generation.generate import generate
from lab_ddpm.training.metrics_log import read_records
from real_formats import write_folder

CLASSES = ("cat", "dog")
RUN = Path("runs/tiny")
CLASSIFIER = Path("evaluator/pets.safetensors")
NUM_IMAGES = 12
UNCONDITIONAL = {"data__conditional": "false"}


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def pets(**settings: Any) -> list[str]:
    """A run of 4 epochs of 3 steps on the images in pets/. Each ends with an evaluation, and all are kept."""
    common = {"data__dataset": "folder", "data__root": "pets", "epochs": 4, "evaluation__every_epochs": 1}
    common |= {"evaluation__num_images": NUM_IMAGES, "evaluation__keep": 9, "optimizer__learning_rate": 0.005}
    return ["train", *tiny_arguments(Path.cwd(), **(common | settings))]


def save_pet_classifier(path: Path = CLASSIFIER, labels: tuple[str, ...] = CLASSES, seed: int = 0) -> None:
    """Random, but such that images differ in their features, and in the more probable label."""
    torch.manual_seed(seed)
    classifier = cast(nn.Sequential, build_classifier("referee", len(labels)))
    for _ in range(30):
        classifier(torch.rand(16, 3, 16, 16) * 2 - 1)  # gives its normalisations their statistics
    with torch.no_grad():
        last, features = cast(nn.Linear, classifier[3]), classifier.eval()[:3](torch.rand(64, 3, 16, 16) * 2 - 1)
        last.bias.copy_(-last.weight @ features.mean(dim=0))
    save_classifier(classifier, "referee", path.parent, labels, path.stem)


def validations() -> dict[int, dict[str, Any]]:
    """The scores of the run by step."""
    return {r["step"]: r["validation"] for r in read_records(RUN / "metrics.jsonl") if "validation" in r}


def sampled(step: int, labels: tuple[str, ...]) -> Any:
    """The images that the run scored at a step, made again with the pipeline that it kept."""
    pipeline = load_pipeline(RUN / "pipelines" / f"step_{step:07d}")
    return generate(pipeline, every_label(labels, NUM_IMAGES), image_seeds(0, NUM_IMAGES)).images


def best_step() -> int:
    return int((RUN / "best").resolve().name.removeprefix("step_"))


def test_labelled_images_with_a_classifier_are_chosen_by_the_labels_found() -> None:
    write_folder(Path("pets"), CLASSES, count=12)
    save_pet_classifier()
    assert main(pets()) == 0
    scores, classifier = validations(), load_classifier(CLASSIFIER, CLASSES)
    assert list(scores) == [3, 6, 9, 12]
    asked = encode(every_label(CLASSES, NUM_IMAGES), CLASSES)
    for step, score in scores.items():
        assert score == {"labels_found": found_in(classifier, sampled(step, CLASSES), asked)["micro"]}
    means = {step: score["labels_found"]["mean"] for step, score in scores.items()}
    assert best_step() == max(means, key=lambda step: means[step]) != 12  # the newest is another one
    assert load_pipeline(RUN / "best").denoiser.labels == CLASSES


def test_an_unconditional_model_is_chosen_by_the_smallest_distance() -> None:
    write_folder(Path("pets"), CLASSES, count=12)
    save_pet_classifier()
    assert main(pets(**UNCONDITIONAL)) == 0
    scores, features = validations(), Features(load_classifier(CLASSIFIER, None))
    real, distances = extract(features, open_folder("pets", 16).images), {}
    for step, score in scores.items():
        distances[step] = score["frechet"]["mean"]
        assert score == {"frechet": {"mean": distances[step], "ci95": None}}
        again = compare(real, extract(features, sampled(step, ())))
        assert distances[step] == pytest.approx(again["frechet"], rel=0.01)
    assert list(distances) == [3, 6, 9, 12]
    assert len(set(distances.values())) == 4
    assert best_step() == min(distances, key=lambda step: distances[step]) != 12
    assert load_pipeline(RUN / "best").denoiser.labels == ()


def test_without_a_classifier_the_newest_is_the_best_also_after_one_has_come() -> None:
    write_folder(Path("pets"), CLASSES, count=12)
    assert main(pets(epochs=2)) == 0
    shutil.rmtree(max((RUN / "states").glob("step_*")))  # as if the run had been stopped before it
    save_pet_classifier()
    assert main(pets(epochs=2)) == 0
    assert validations() == {}
    assert best_step() == 6


@pytest.mark.parametrize(("found", "code"), [("another", 2), ("no file", 1)])
def test_a_run_does_not_resume_with_scores_of_another_classifier(
    found: str, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    write_folder(Path("pets"), CLASSES, count=12)
    save_pet_classifier()
    content, command = CLASSIFIER.read_bytes(), pets(epochs=2)
    assert main(command) == 0
    before = validations()
    shutil.rmtree(max((RUN / "states").glob("step_*")))
    if found == "another":
        save_pet_classifier(seed=1)
    else:
        CLASSIFIER.unlink()
    assert main(command) == code
    assert str(CLASSIFIER) in capsys.readouterr().err.splitlines()[-1]
    assert validations() == before
    CLASSIFIER.write_bytes(content)
    assert main(command) == 0
    assert validations() == before


@pytest.mark.usefixtures("tiny_dataset")
def test_iclevr_is_chosen_by_the_objects_found(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_random_classifiers(names=("resnet18",))
    assert main(["train", *tiny_arguments(tmp_path, evaluation__metric="exact_match")]) == 0
    (score,) = validations().values()
    assert score.keys() == {"micro", "exact_match", "by_object_count", "by_object"}
    assert f"exact_match {score['exact_match']['mean']:.4f}" in capsys.readouterr().out
    unconditional = tiny_arguments(tmp_path, **UNCONDITIONAL, name="unconditional")
    assert main(["train", *unconditional]) == 0
    assert load_pipeline("runs/unconditional/best").denoiser.labels == ()


@pytest.mark.parametrize(
    ("settings", "code", "named"),
    [
        ({"evaluation__metric": "labels_found"}, 1, "evaluator/pets.safetensors"),
        ({"evaluation__classifier": "birds.safetensors"}, 1, "birds.safetensors"),  # of other labels
    ],
    ids=str,
)
def test_a_classifier_that_cannot_score_is_named_before_a_step(
    settings: dict[str, Any], code: int, named: str, capsys: pytest.CaptureFixture[str]
) -> None:
    write_folder(Path("pets"), CLASSES)
    save_pet_classifier(Path("birds.safetensors"), ("crow", "tit"))
    assert main(pets(**settings)) == code
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("lab-ddpm: ")]
    assert named in line
    assert not read_records(RUN / "metrics.jsonl")


def test_a_conditional_model_of_images_without_labels_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    write_folder(Path("pets"))
    assert main(pets(data__conditional="true")) == 2
    assert "`data.conditional`" in capsys.readouterr().err
    assert not (RUN / "metrics.jsonl").exists()
