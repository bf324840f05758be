"""The classifiers' files: what is written is read back, what comes from outside is never run."""

import json
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from lab_ddpm.data.iclevr import OBJECTS
from lab_ddpm.evaluation.classifiers import (
    CLASSIFIERS,
    build_classifier,
    classifier_file,
    load_classifier,
    predict,
    save_classifier,
)
from lab_ddpm.tools.errors import DataError, UserError
from lab_ddpm.tools.shipped import SHIPPED

IMAGES = np.random.default_rng(0).integers(0, 256, (5, 64, 64, 3), dtype=np.uint8)


@pytest.fixture(scope="module", params=CLASSIFIERS)
def saved(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """The name of a classifier, and the file of an untrained one."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("evaluator")
    return request.param, save_classifier(build_classifier(request.param, 24), request.param, folder, OBJECTS)


def official_state() -> dict[str, torch.Tensor]:
    torch.manual_seed(1)
    return build_classifier("resnet18", 24).state_dict()


def test_saved_file_is_small_half_precision_and_names_itself(saved: tuple[str, Path]) -> None:
    name, path = saved
    assert path.name == f"{name}.safetensors"
    assert path.stat().st_size < 25e6
    assert {value.dtype for value in load_file(path).values() if value.ndim > 1} == {torch.float16}


def test_loading_gives_the_saved_weights_in_float32(saved: tuple[str, Path]) -> None:
    name, path = saved
    loaded = load_classifier(path, OBJECTS)
    assert not loaded.training
    assert {parameter.dtype for parameter in loaded.parameters()} == {torch.float32}
    torch.manual_seed(0)
    original = predict(build_classifier(name, 24), IMAGES)
    np.testing.assert_allclose(predict(loaded, IMAGES), original, atol=0.01)


def test_saving_what_was_loaded_changes_nothing(saved: tuple[str, Path], tmp_path: Path) -> None:
    name, path = saved
    again = save_classifier(load_classifier(path, OBJECTS), name, tmp_path, OBJECTS)
    before, after = load_file(path), load_file(again)
    assert before.keys() == after.keys()
    assert all(torch.equal(before[key], after[key]) for key in before)


def test_predictions_are_probabilities_and_do_not_depend_on_the_batch(saved: tuple[str, Path]) -> None:
    classifier = load_classifier(saved[1], OBJECTS)
    whole = predict(classifier, IMAGES)
    assert whole.shape == (5, 24)
    assert whole.dtype == np.float32
    assert (whole >= 0).all()
    assert (whole <= 1).all()
    np.testing.assert_allclose(predict(classifier, IMAGES, batch_size=2), whole, atol=1e-5)
    assert predict(classifier, IMAGES[:0]).shape == (0, 24)


def test_an_official_checkpoint_has_the_weights_as_they_are(tmp_path: Path) -> None:
    state = official_state()
    assert {"conv1.weight", "fc.0.weight", "fc.0.bias"} <= set(state)
    torch.save({"model": state}, tmp_path / "checkpoint.pth")
    loaded = load_classifier(tmp_path / "checkpoint.pth", OBJECTS)
    assert all(torch.equal(value, state[key]) for key, value in loaded.state_dict().items())


@pytest.mark.parametrize("name", [*CLASSIFIERS, "fashion_mnist"])
def test_a_classifier_of_the_working_folder_comes_before_the_shipped_one(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert classifier_file(name) == SHIPPED / "evaluator" / f"{name}.safetensors"
    assert classifier_file(name).is_file()
    own = save_classifier(build_classifier("referee", 2), "referee", "evaluator", ("a", "b"), name)
    assert classifier_file(name) == own == Path("evaluator") / f"{name}.safetensors"


def test_a_shipped_classifier_is_loaded_from_any_folder_by_its_place_in_the_repository(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shipped = load_classifier("evaluator/referee.safetensors", OBJECTS)
    by_path = load_classifier(SHIPPED / "evaluator" / "referee.safetensors", OBJECTS)
    np.testing.assert_array_equal(predict(shipped, IMAGES), predict(by_path, IMAGES))


def test_an_official_checkpoint_of_the_working_folder_stands_in_for_resnet18_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    save_classifier(build_classifier("resnet18", 24), "resnet18", "evaluator", OBJECTS)
    Path("evaluator/checkpoint.pth").touch()
    assert classifier_file("resnet18") == Path("evaluator/checkpoint.pth")
    assert classifier_file("referee").name == "referee.safetensors"


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
        load_classifier(path, OBJECTS)
    assert not proof.exists()


@pytest.mark.parametrize("length", [0, 10, 1000, -1000])
@pytest.mark.parametrize("kind", ["safetensors", "pth"])
def test_truncated_file_is_a_data_error(kind: str, length: int, tmp_path: Path) -> None:
    whole = tmp_path / f"whole.{kind}"
    if kind == "pth":
        torch.save({"model": official_state()}, whole)
    else:
        save_classifier(build_classifier("referee", 24), "referee", tmp_path, OBJECTS).rename(whole)
    path = tmp_path / f"broken.{kind}"
    path.write_bytes(whole.read_bytes()[:length])
    with pytest.raises(DataError, match=f"broken.{kind}: "):
        load_classifier(path, OBJECTS)


def test_weights_of_another_network_are_named(tmp_path: Path) -> None:
    state = official_state()
    state["layer5.weight"] = state.pop("conv1.weight")
    state["fc.0.bias"] = torch.zeros(10)
    torch.save({"model": state}, tmp_path / "checkpoint.pth")
    named = r"conv1\.weight is missing.*layer5\.weight is unknown.*\(24,\), got \(10,\)"
    with pytest.raises(DataError, match=named):
        load_classifier(tmp_path / "checkpoint.pth", OBJECTS)


@pytest.mark.parametrize("content", [{"weights": {}}, [1, 2], {"model": 3}, {"model": {"fc": 1}}])
def test_checkpoint_of_another_shape(content: object, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "checkpoint.pth")
    with pytest.raises(DataError, match="state dict"):
        load_classifier(tmp_path / "checkpoint.pth", OBJECTS)


def test_safetensors_with_other_labels_or_without_a_header(tmp_path: Path) -> None:
    state = build_classifier("referee", 24).state_dict()
    save_file(state, tmp_path / "plain.safetensors")
    with pytest.raises(DataError, match="header must name one of"):
        load_classifier(tmp_path / "plain.safetensors", OBJECTS)
    labels = json.dumps(OBJECTS[:10])
    save_file(state, tmp_path / "other.safetensors", metadata={"classifier": "referee", "labels": labels})
    with pytest.raises(DataError, match=r"made for the labels gray cube, .*, not for gray cube, "):
        load_classifier(tmp_path / "other.safetensors", OBJECTS)


@pytest.mark.parametrize("labels", ["", "3", "{", None], ids=repr)
def test_safetensors_without_a_list_of_labels(labels: str | None, tmp_path: Path) -> None:
    header = {"classifier": "referee"} | ({} if labels is None else {"labels": labels})
    save_file(build_classifier("referee", 24).state_dict(), tmp_path / "own.safetensors", metadata=header)
    with pytest.raises(DataError, match="header must hold the list of its labels"):
        load_classifier(tmp_path / "own.safetensors", None)


def test_where_only_features_are_wanted_any_labels_do(tmp_path: Path) -> None:
    path = save_classifier(build_classifier("referee", 2, channels=1), "referee", tmp_path, ("cat", "dog"), "pets")
    assert path == tmp_path / "pets.safetensors"
    grey = IMAGES[..., :1]
    np.testing.assert_array_equal(
        predict(load_classifier(path, None), grey), predict(load_classifier(path, ("cat", "dog")), grey)
    )
    with pytest.raises(DataError, match="made for the labels cat, dog, not for none"):
        load_classifier(path, ())


def test_unknown_and_missing_classifiers(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"must be a \.safetensors or \.pth file, got 'referee'"):
        load_classifier("referee", OBJECTS)
    for name in ("own.safetensors", "own.pth"):
        with pytest.raises(DataError, match=f"{name}: no such classifier"):
            load_classifier(tmp_path / name, OBJECTS)
    with pytest.raises(DataError, match=r"resnet\.safetensors: no such classifier"):
        classifier_file("resnet")
    with pytest.raises(UserError, match="`classifier` must be one of"):
        build_classifier("vgg", 24)
