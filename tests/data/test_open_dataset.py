"""Data sets by name: with the labels that a model learns, and the parts that it never sees."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lab_ddpm.data import torchvision_data
from lab_ddpm.data.iclevr import OBJECTS
from lab_ddpm.data.open_dataset import open_held_out, open_training_images, short_name
from lab_ddpm.tools.errors import UserError
from real_formats import write_folder, write_mnist


def test_an_unconditional_model_sees_the_same_images_without_their_labels(tiny_dataset: Path) -> None:
    learnt, unlabelled = (
        open_training_images("iclevr", tiny_dataset, 16, conditional) for conditional in (True, False)
    )
    assert learnt.labels == OBJECTS
    assert (unlabelled.labels, unlabelled.class_labels.shape) == ((), (21, 0))
    np.testing.assert_array_equal(unlabelled.images, learnt.images)
    assert unlabelled.fingerprint() != learnt.fingerprint()


def test_a_conditional_model_needs_labels(tmp_path: Path) -> None:
    write_folder(tmp_path)
    with pytest.raises(UserError, match="`conditional`"):
        open_training_images("folder", tmp_path, 16, conditional=True)
    assert len(open_training_images("folder", tmp_path, 16, conditional=False)) == 6


def test_images_of_a_folder_are_grey_if_every_file_is(tmp_path: Path) -> None:
    Image.new("L", (16, 16), 100).save(tmp_path / "a.png")
    Image.new("I;16", (16, 16), 30_000).save(tmp_path / "b.png")
    assert open_training_images("folder", tmp_path, 16, conditional=False).images.shape == (2, 16, 16, 1)
    Image.new("RGB", (16, 16)).save(tmp_path / "c.png")
    assert open_training_images("folder", tmp_path, 16, conditional=False).images.shape == (3, 16, 16, 3)


def test_an_unknown_data_set_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="`dataset`"):
        open_held_out("mnits", tmp_path, None, 16)


def test_held_out_images_are_a_part_of_the_data_set_or_a_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torchvision_data, "DEBIAN_FASHION_MNIST", Path("/absent"))
    write_mnist(tmp_path / "digits")
    write_folder(tmp_path / "other", count=3)
    assert open_held_out("mnist", tmp_path / "digits", None, 32).names[0] == "test/0"
    assert len(open_held_out("folder", tmp_path / "absent", tmp_path / "other", 16)) == 3
    with pytest.raises(UserError, match="`held_out`"):
        open_held_out("mnist", tmp_path / "digits", tmp_path / "other", 32)
    with pytest.raises(UserError, match="`held_out`"):
        open_held_out("folder", tmp_path / "other", None, 16)


def test_files_are_named_after_the_data_set_or_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "pets").mkdir()
    monkeypatch.chdir(tmp_path / "pets")
    assert short_name("folder", ".") == "pets"
    assert short_name("folder", "flowers/train") == "flowers"
    assert short_name("mnist", "data/digits") == "mnist"
