"""The classifiers' files: what is written is read back, what comes from outside is never run."""

import json
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from lab_ddpm.data.conditions import OBJECTS
from lab_ddpm.judging.classifiers import (
    CLASSIFIERS,
    build_classifier,
    classifier_file,
    load_classifier,
    predict,
    save_classifier,
)
from lab_ddpm.tools.errors import DataError, UserError

PICTURES = np.random.default_rng(0).integers(0, 256, (5, 64, 64, 3), dtype=np.uint8)


@pytest.fixture(scope="module", params=CLASSIFIERS)
def saved(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """The name of a classifier, and the file of an untrained one."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("evaluator")
    return request.param, save_classifier(build_classifier(request.param), request.param, folder)


def official_state() -> dict[str, torch.Tensor]:
    torch.manual_seed(1)
    return build_classifier("resnet18").state_dict()


def test_saved_file_is_small_half_precision_and_names_itself(saved: tuple[str, Path]) -> None:
    name, path = saved
    assert path.name == f"{name}.safetensors"
    assert path.stat().st_size < 25e6
    assert {value.dtype for value in load_file(path).values() if value.ndim > 1} == {torch.float16}


def test_loading_gives_the_saved_weights_in_float32(saved: tuple[str, Path]) -> None:
    name, path = saved
    by_name, by_path = load_classifier(name, path.parent), load_classifier(path)
    assert not by_name.training
    assert {parameter.dtype for parameter in by_name.parameters()} == {torch.float32}
    torch.manual_seed(0)
    original = predict(build_classifier(name), PICTURES)
    np.testing.assert_allclose(predict(by_name, PICTURES), original, atol=0.01)
    np.testing.assert_array_equal(predict(by_name, PICTURES), predict(by_path, PICTURES))


def test_saving_what_was_loaded_changes_nothing(saved: tuple[str, Path], tmp_path: Path) -> None:
    name, path = saved
    before, after = load_file(path), load_file(save_classifier(load_classifier(path), name, tmp_path))
    assert before.keys() == after.keys()
    assert all(torch.equal(before[key], after[key]) for key in before)


def test_predictions_are_probabilities_and_do_not_depend_on_the_batch(saved: tuple[str, Path]) -> None:
    classifier = load_classifier(saved[1])
    whole = predict(classifier, PICTURES)
    assert whole.shape == (5, 24)
    assert whole.dtype == np.float32
    assert (whole >= 0).all()
    assert (whole <= 1).all()
    np.testing.assert_allclose(predict(classifier, PICTURES, batch_size=2), whole, atol=1e-5)
    assert predict(classifier, PICTURES[:0]).shape == (0, 24)


def test_official_checkpoint_stands_in_for_resnet18(tmp_path: Path) -> None:
    state = official_state()
    assert {"conv1.weight", "fc.0.weight", "fc.0.bias"} <= set(state)
    torch.save({"model": state}, tmp_path / "checkpoint.pth")
    assert classifier_file("resnet18", tmp_path) == tmp_path / "checkpoint.pth"
    loaded = load_classifier("resnet18", tmp_path)
    assert all(torch.equal(value, state[key]) for key, value in loaded.state_dict().items())


def test_official_checkpoint_does_not_stand_in_for_the_referee(tmp_path: Path) -> None:
    (tmp_path / "checkpoint.pth").touch()
    with pytest.raises(DataError, match=r"referee\.safetensors: no such classifier"):
        classifier_file("referee", tmp_path)


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
    with pytest.raises(DataError, match="refused"):
        load_classifier("resnet18", tmp_path)
    assert not proof.exists()


@pytest.mark.parametrize("length", [0, 10, 1000, -1000])
@pytest.mark.parametrize("kind", ["safetensors", "pth"])
def test_truncated_file_is_a_data_error(kind: str, length: int, tmp_path: Path) -> None:
    whole = tmp_path / f"whole.{kind}"
    if kind == "pth":
        torch.save({"model": official_state()}, whole)
    else:
        save_classifier(build_classifier("referee"), "referee", tmp_path).rename(whole)
    path = tmp_path / f"broken.{kind}"
    path.write_bytes(whole.read_bytes()[:length])
    with pytest.raises(DataError, match=f"broken.{kind}: "):
        load_classifier(path)


def test_weights_of_another_network_are_named(tmp_path: Path) -> None:
    state = official_state()
    state["layer5.weight"] = state.pop("conv1.weight")
    state["fc.0.bias"] = torch.zeros(10)
    torch.save({"model": state}, tmp_path / "checkpoint.pth")
    named = r"conv1\.weight is missing.*layer5\.weight is unknown.*\(24,\), got \(10,\)"
    with pytest.raises(DataError, match=named):
        load_classifier("resnet18", tmp_path)


@pytest.mark.parametrize("content", [{"weights": {}}, [1, 2], {"model": 3}, {"model": {"fc": 1}}])
def test_checkpoint_of_another_shape(content: object, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "checkpoint.pth")
    with pytest.raises(DataError, match="state dict"):
        load_classifier("resnet18", tmp_path)


def test_safetensors_with_other_labels_or_without_a_header(tmp_path: Path) -> None:
    state = build_classifier("referee").state_dict()
    save_file(state, tmp_path / "plain.safetensors")
    with pytest.raises(DataError, match="header must name one of"):
        load_classifier(tmp_path / "plain.safetensors")
    labels = json.dumps(OBJECTS[:10])
    save_file(state, tmp_path / "other.safetensors", metadata={"classifier": "referee", "labels": labels})
    with pytest.raises(DataError, match=r"made for the labels gray cube, .*, not for gray cube, "):
        load_classifier(tmp_path / "other.safetensors")


def test_unknown_and_missing_classifiers(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"`classifier` must be one of \['resnet18', 'referee'\].*'resnet'"):
        load_classifier("resnet", tmp_path)
    for name in ("resnet18", "referee", tmp_path / "own.safetensors", tmp_path / "own.pth"):
        with pytest.raises(DataError, match="no such classifier"):
            load_classifier(name, tmp_path)
    with pytest.raises(UserError, match="`classifier` must be one of"):
        build_classifier("vgg")
