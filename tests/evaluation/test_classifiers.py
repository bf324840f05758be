"""The files of the classifiers: what is written is read back, code from outside is never run."""

import json
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from lab_ddpm.data.iclevr import OBJECTS
from lab_ddpm.data.images import resize_images
from lab_ddpm.evaluation.classifiers import (
    CLASSIFIERS,
    Features,
    build_classifier,
    classifier_file,
    load_classifier,
    predict,
    save_classifier,
)
from lab_ddpm.tools.errors import DataError
from lab_ddpm.tools.shipped import SHIPPED

IMAGES = np.random.default_rng(0).integers(0, 256, (5, 64, 64, 3), dtype=np.uint8)


def official_state() -> dict[str, torch.Tensor]:
    torch.manual_seed(1)
    return build_classifier("resnet18", 24).state_dict()


@pytest.mark.parametrize("name", [*CLASSIFIERS, "images"])
def test_what_is_saved_is_small_and_loaded_again(name: str, tmp_path: Path) -> None:
    original = build_classifier(name, 24)
    path = save_classifier(original, name, tmp_path / "one", OBJECTS)
    assert path.name == f"{name}.safetensors"
    assert path.stat().st_size < 25e6
    loaded = load_classifier(path, OBJECTS)
    assert not loaded.training
    assert {parameter.dtype for parameter in loaded.parameters()} == {torch.float32}
    probabilities = predict(loaded, IMAGES)
    assert probabilities.shape == (5, 24)
    assert ((probabilities >= 0) & (probabilities <= 1)).all()
    np.testing.assert_allclose(probabilities, predict(original, IMAGES), atol=0.01)
    np.testing.assert_allclose(predict(loaded, IMAGES[:2]), probabilities[:2], atol=1e-5)
    before, after = load_file(path), load_file(save_classifier(loaded, name, tmp_path / "two", OBJECTS))
    assert before.keys() == after.keys()
    assert all(torch.equal(before[key], after[key]) for key in before)


def test_an_official_checkpoint_has_the_weights_as_they_are(tmp_path: Path) -> None:
    state = official_state()
    assert {"conv1.weight", "fc.0.weight", "fc.0.bias"} <= set(state)
    torch.save({"model": state}, tmp_path / "checkpoint.pth")
    loaded = load_classifier(tmp_path / "checkpoint.pth", OBJECTS)
    assert all(torch.equal(value, state[key]) for key, value in loaded.state_dict().items())


@pytest.mark.parametrize("name", [*CLASSIFIERS, "fashion_mnist"])
def test_a_classifier_of_the_working_folder_is_used_before_the_shipped_one(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert classifier_file(name) == SHIPPED / "evaluator" / f"{name}.safetensors"
    load_classifier(f"evaluator/{name}.safetensors", None)
    own = save_classifier(build_classifier("referee", 2), "referee", "evaluator", ("a", "b"), name)
    assert classifier_file(name) == own == Path("evaluator") / f"{name}.safetensors"
    Path("evaluator/checkpoint.pth").touch()
    assert classifier_file(name) == (Path("evaluator/checkpoint.pth") if name == "resnet18" else own)


class Malicious:
    """A pickle of this makes a folder when it is loaded."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple:
        return os.mkdir, (str(self.folder),)


@pytest.mark.parametrize("writer", ["torch", "pickle"])
def test_code_in_a_checkpoint_is_refused_and_not_run(writer: str, tmp_path: Path) -> None:
    path, proof = tmp_path / "checkpoint.pth", tmp_path / "was_run"
    if writer == "torch":
        torch.save({"model": Malicious(proof)}, path)
    else:
        path.write_bytes(pickle.dumps({"model": Malicious(proof)}))
    with pytest.raises(DataError, match=r"checkpoint\.pth"):
        load_classifier(path, OBJECTS)
    assert not proof.exists()


@pytest.mark.parametrize("length", [0, -1000])
@pytest.mark.parametrize("kind", ["safetensors", "pth"])
def test_a_truncated_file_is_named(kind: str, length: int, tmp_path: Path) -> None:
    whole = tmp_path / f"whole.{kind}"
    if kind == "pth":
        torch.save({"model": official_state()}, whole)
    else:
        save_classifier(build_classifier("referee", 24), "referee", tmp_path, OBJECTS).rename(whole)
    path = tmp_path / f"broken.{kind}"
    path.write_bytes(whole.read_bytes()[:length])
    with pytest.raises(DataError, match=path.name):
        load_classifier(path, OBJECTS)


def test_weights_of_another_network_are_named(tmp_path: Path) -> None:
    state = official_state()
    state["layer5.weight"] = state.pop("conv1.weight")
    state["fc.0.bias"] = torch.zeros(10)
    torch.save({"model": state}, tmp_path / "checkpoint.pth")
    with pytest.raises(DataError, match=r"conv1\.weight.*layer5\.weight.*fc\.0\.bias"):
        load_classifier(tmp_path / "checkpoint.pth", OBJECTS)
    for content in ({"weights": {}}, [1, 2], {"model": {"fc": 1}}):
        torch.save(content, tmp_path / "checkpoint.pth")
        with pytest.raises(DataError, match=r"checkpoint\.pth"):
            load_classifier(tmp_path / "checkpoint.pth", OBJECTS)


@pytest.mark.parametrize(
    "header",
    [
        None,
        {"classifier": "vgg", "labels": json.dumps(OBJECTS)},
        {"classifier": "referee", "labels": json.dumps(OBJECTS[:10])},
    ],
)
def test_a_safetensors_file_with_another_header_is_refused(header: dict[str, str] | None, tmp_path: Path) -> None:
    save_file(build_classifier("referee", 24).state_dict(), tmp_path / "own.safetensors", metadata=header)
    with pytest.raises(DataError, match=r"own\.safetensors"):
        load_classifier(tmp_path / "own.safetensors", OBJECTS)


def test_labels_are_not_checked_if_only_features_are_needed(tmp_path: Path) -> None:
    pets = build_classifier("referee", 2, channels=1)
    path = save_classifier(pets, "referee", tmp_path, ("cat", "dog"), "pets", (32, 48))
    assert path == tmp_path / "pets.safetensors"
    load_classifier(path, None)
    load_classifier(path, ("cat", "dog"), 1)
    with pytest.raises(DataError, match=r"pets\.safetensors"):
        load_classifier(path, ())
    with pytest.raises(DataError, match="grey"):
        load_classifier(path, None, 3)


def test_images_are_brought_to_the_size_that_a_classifier_was_trained_at(tmp_path: Path) -> None:
    path = save_classifier(build_classifier("referee", 2), "referee", tmp_path, ("cat", "dog"), "pets", (32, 32))
    classifier, small = load_classifier(path, None), resize_images(IMAGES, 32)
    np.testing.assert_allclose(predict(classifier, IMAGES), predict(classifier, small), atol=1e-3)
    large, other = (Features(classifier)(torch.from_numpy(images).movedim(-1, 1)) for images in (IMAGES, small))
    torch.testing.assert_close(large, other, atol=0.02, rtol=0.02)


def test_unknown_and_missing_classifiers(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="referee"):
        load_classifier("referee", OBJECTS)
    with pytest.raises(DataError, match=r"own\.pth"):
        load_classifier(tmp_path / "own.pth", OBJECTS)
    with pytest.raises(DataError, match=r"resnet\.safetensors"):
        classifier_file("resnet")
