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
from lab_ddpm.diffusion.reverse_process import image_seeds
from lab_ddpm.evaluation.classifiers import Features, build_classifier, load_classifier, predict, save_classifier
from lab_ddpm.evaluation.distances import compare, extract
from lab_ddpm.evaluation.intervals import wilson_interval
from lab_ddpm.evaluation.scores import labels_found
from lab_ddpm.generation.checkpoint import load_pipeline
from lab_ddpm.generation.sampler import Sampler
from lab_ddpm.tools.metrics_log import read_records
from real_formats import write_folder

CLASSES = ("cat", "dog")
RUN = Path("runs/tiny")
NUM_IMAGES = 12


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def pets(**settings: Any) -> list[str]:
    """A run of 4 epochs of 3 steps on the images in pets/, each of which ends with an evaluation; all are kept."""
    common = {"data__dataset": "folder", "data__root": "pets", "epochs": 4, "evaluation__every_epochs": 1}
    common |= {"evaluation__num_images": NUM_IMAGES, "evaluation__keep": 9, "optimizer__learning_rate": 0.005}
    return ["train", *tiny_arguments(Path.cwd(), **(common | settings))]


def save_pet_classifier(
    path: str = "evaluator/pets.safetensors", labels: tuple[str, ...] = CLASSES, seed: int = 0
) -> None:
    """Random, but such that images differ in their features, and in the more probable label."""
    torch.manual_seed(seed)
    classifier, file = cast(nn.Sequential, build_classifier("referee", len(labels))), Path(path)
    for _ in range(30):
        classifier(torch.rand(16, 3, 16, 16) * 2 - 1)  # gives its normalisations their statistics
    with torch.no_grad():
        last, features = cast(nn.Linear, classifier[3]), classifier.eval()[:3](torch.rand(64, 3, 16, 16) * 2 - 1)
        last.bias.copy_(-last.weight @ features.mean(dim=0))
    save_classifier(classifier, "referee", file.parent, labels, file.stem)


def validations() -> dict[int, dict[str, Any]]:
    """The scores of the run by step."""
    return {r["step"]: r["validation"] for r in read_records(RUN / "metrics.jsonl") if "validation" in r}


def sampled(step: int, labels: tuple[str, ...]) -> Any:
    """The images that the run has scored at a step, made again with the pipeline that it has kept."""
    sampler = Sampler(load_pipeline(RUN / "pipelines" / f"step_{step:07d}"), "ddim", 2)
    return sampler.sample(every_label(labels, NUM_IMAGES), image_seeds(0, NUM_IMAGES)).images


def lose_the_newest_state() -> None:
    """As if the run had been stopped before it."""
    shutil.rmtree(max((RUN / "states").glob("step_*")))


def best_step() -> int:
    return int((RUN / "best").resolve().name.removeprefix("step_"))


def test_labelled_images_with_a_classifier_are_chosen_by_the_labels_found(capsys: pytest.CaptureFixture[str]) -> None:
    write_folder(Path("pets"), CLASSES, count=12)
    save_pet_classifier()
    assert main(pets()) == 0
    scores, classifier = validations(), load_classifier("evaluator/pets.safetensors", CLASSES)
    printed = capsys.readouterr().out
    assert list(scores) == [3, 6, 9, 12]
    asked = encode(every_label(CLASSES, NUM_IMAGES), CLASSES)
    for step, score in scores.items():
        found = labels_found(predict(classifier, sampled(step, CLASSES)), asked)
        interval = list(wilson_interval(round(found * NUM_IMAGES), NUM_IMAGES))
        assert score == {"labels_found": {"mean": found, "ci95": interval}}
        assert f"step {step}: labels_found {found:.4f}, " in printed
    means = {step: score["labels_found"]["mean"] for step, score in scores.items()}
    assert best_step() == max(means, key=lambda step: means[step]) != 12  # the newest is another one


@pytest.mark.parametrize("classes", [(), CLASSES], ids=["without labels", "with labels that are not learnt"])
def test_an_unconditional_model_is_chosen_by_the_smallest_distance(
    classes: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    write_folder(Path("pets"), classes, count=12)
    save_pet_classifier()
    assert main(pets(model__conditional="false")) == 0
    scores, features = validations(), Features(load_classifier("evaluator/pets.safetensors", None))
    real = extract(features, open_folder("pets", 16).images)
    printed, distances = capsys.readouterr().out, {}
    for step, score in scores.items():
        distances[step] = score["frechet"]["mean"]
        assert score == {"frechet": {"mean": distances[step], "ci95": None}}
        again = compare(real, extract(features, sampled(step, ())))
        assert distances[step] == pytest.approx(again["frechet"], rel=0.01)
        assert f"step {step}: frechet {distances[step]:.4f}, " in printed
    assert list(distances) == [3, 6, 9, 12]
    assert len(set(distances.values())) == 4
    assert best_step() == min(distances, key=lambda step: distances[step]) != 12  # the newest is another one
    assert load_pipeline(RUN / "best").denoiser.labels == ()


@pytest.mark.parametrize("conditional", ["true", "false"])
def test_without_a_classifier_the_run_says_so_and_the_newest_is_the_best(
    conditional: str, capsys: pytest.CaptureFixture[str]
) -> None:
    write_folder(Path("pets"), CLASSES)
    assert main(pets(model__conditional=conditional, epochs=2)) == 0
    assert "nothing scores these images: the newest pipeline will be best/" in capsys.readouterr().out
    assert validations() == {}
    assert best_step() == 4
    assert {path.name for path in (RUN / "samples").glob("step_*")} == {"step_0000002.png", "step_0000004.png"}


def test_none_does_not_score_even_where_there_is_a_classifier(capsys: pytest.CaptureFixture[str]) -> None:
    write_folder(Path("pets"), CLASSES)
    save_pet_classifier()
    assert main(pets(evaluation__metric="none", epochs=2)) == 0
    assert "nothing scores these images" in capsys.readouterr().out
    assert validations() == {}
    assert best_step() == 4


@pytest.mark.parametrize("conditional", ["true", "false"])
def test_a_run_that_began_unscored_goes_on_unscored(conditional: str, capsys: pytest.CaptureFixture[str]) -> None:
    write_folder(Path("pets"), CLASSES, count=12)
    command = pets(model__conditional=conditional)
    assert main(command) == 0
    lose_the_newest_state()
    save_pet_classifier()
    assert main(command) == 0
    assert "going on from step 10 of 12" in capsys.readouterr().out
    assert validations() == {}
    assert best_step() == 12


@pytest.mark.parametrize("found", ["another", "no file"])
@pytest.mark.parametrize("metric", ["auto", "labels_found"])
def test_a_run_does_not_go_on_with_scores_of_another_classifier(
    metric: str, found: str, capsys: pytest.CaptureFixture[str]
) -> None:
    write_folder(Path("pets"), CLASSES, count=12)
    save_pet_classifier()
    file = Path("evaluator/pets.safetensors")
    content, command = file.read_bytes(), pets(evaluation__metric=metric)
    assert main(command) == 0
    before = validations()
    lose_the_newest_state()
    capsys.readouterr()
    if found == "another":
        save_pet_classifier(seed=1)
    else:
        file.unlink()
    assert main(command) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f"{file} must be the classifier that the scores of the run are by (sha256 " in line
    assert "put that one back, or choose another `--name`" in line
    assert ("got no file" in line) == (found == "no file")
    assert validations() == before
    file.write_bytes(content)
    assert main(command) == 0
    assert validations() == before


@pytest.mark.usefixtures("tiny_dataset")
def test_a_run_of_iclevr_does_not_go_on_with_another_classifier(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save_random_classifiers(names=("resnet18",))
    assert main(["train", *tiny_arguments(tmp_path)]) == 0
    save_random_classifiers(names=("resnet18",))
    assert main(["train", *tiny_arguments(tmp_path)]) == 2
    assert "evaluator/resnet18.safetensors must be the classifier that the scores" in capsys.readouterr().err


def test_of_equal_scores_the_later_pipeline_is_best_and_the_log_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    write_folder(Path("pets"), CLASSES, count=12)
    save_pet_classifier()
    assert main(pets(optimizer__learning_rate=1e-12, epochs=2)) == 0  # changes no image
    printed = capsys.readouterr().out
    (score,) = {score["labels_found"]["mean"] for score in validations().values()}
    assert f"step 3: labels_found {score:.4f}, the best so far" in printed
    assert f"step 6: labels_found {score:.4f}, as good as that of step 3: best/ is the later one" in printed
    assert best_step() == 6


def test_a_classifier_elsewhere_can_be_named_and_the_distance_be_asked_for() -> None:
    write_folder(Path("pets"), CLASSES)
    save_pet_classifier("elsewhere/mine.safetensors")
    named = {"evaluation__classifier": "elsewhere/mine.safetensors", "epochs": 1}
    assert main(pets(**named)) == 0
    assert [list(score) for score in validations().values()] == [["labels_found"]]
    assert main(pets(**named, evaluation__metric="frechet", runs_dir="other")) == 0
    records = [r for r in read_records(Path("other/tiny/metrics.jsonl")) if "validation" in r]
    assert [list(r["validation"]) for r in records] == [["frechet"]]


@pytest.mark.usefixtures("tiny_dataset")
@pytest.mark.parametrize(("metric", "name"), [("auto", "micro"), ("exact_match", "exact_match")])
def test_iclevr_is_chosen_by_the_objects_found(
    metric: str, name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save_random_classifiers(names=("resnet18",))
    assert main(["train", *tiny_arguments(tmp_path, evaluation__metric=metric)]) == 0
    (score,) = validations().values()
    assert {"micro", "exact_match", "by_object_count", "by_object"} == set(score)
    assert f"step 6: {name} {score[name]['mean']:.4f}, the best so far" in capsys.readouterr().out


@pytest.mark.usefixtures("tiny_dataset")
def test_nothing_scores_an_unconditional_model_of_iclevr(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", *tiny_arguments(tmp_path, model__conditional="false")]) == 0
    assert "nothing scores these images" in capsys.readouterr().out
    assert load_pipeline(RUN / "best").denoiser.labels == ()


def test_a_conditional_model_learns_the_labels_that_the_images_have() -> None:
    write_folder(Path("pets"), CLASSES)
    assert main(pets(epochs=1)) == 0
    assert load_pipeline(RUN / "best").denoiser.labels == CLASSES


def test_a_conditional_model_of_images_without_labels_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    write_folder(Path("pets"))
    assert main(pets(model__conditional="true")) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line == "lab-ddpm: `model.conditional` must be false for the images in pets, which have no labels"
    assert not (RUN / "metrics.jsonl").exists()


@pytest.mark.parametrize(
    ("settings", "code", "message"),
    [
        ({"evaluation__metric": "labels_found"}, 1, "evaluator/pets.safetensors: no such classifier"),
        (
            {"evaluation__metric": "frechet", "model__conditional": "false"},
            1,
            "evaluator/pets.safetensors: no such classifier",
        ),
        ({"evaluation__classifier": "absent.safetensors"}, 1, "absent.safetensors: no such classifier"),
        ({"evaluation__classifier": "birds.safetensors"}, 1, "made for the labels crow, tit, not for cat, dog"),
        (
            {"evaluation__classifier": "evaluator/fashion_mnist.safetensors", "model__conditional": "false"},
            1,
            "evaluator/fashion_mnist.safetensors",  # of grey images
        ),
        (
            {"evaluation__classifier": "evaluator/resnet18.safetensors", "model__conditional": "false"},
            2,
            "features come from a classifier of the referee's architecture, got a resnet18",
        ),
        (
            {"evaluation__classifier": "birds.safetensors", "model__conditional": "false"}
            | {"evaluation__num_images": 3},
            2,
            "`evaluation.num_images` must be at least 4, got 3",
        ),
    ],
    ids=lambda value: " ".join(map(str, value.items())) if isinstance(value, dict) else "",
)
def test_a_classifier_that_cannot_score_is_one_line_before_anything_is_trained(
    settings: dict[str, Any], code: int, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    write_folder(Path("pets"), CLASSES)
    save_pet_classifier("birds.safetensors", ("crow", "tit"))
    assert main(pets(**settings)) == code
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("lab-ddpm: ")]
    assert message in line
    assert not read_records(RUN / "metrics.jsonl")
