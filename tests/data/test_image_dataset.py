"""The fingerprint of a data set, and some of its images."""

import shutil
from pathlib import Path

import pytest

from lab_ddpm.data.image_folder import open_folder
from real_formats import write_folder


def test_the_fingerprint_depends_on_images_labels_and_size_but_not_on_the_place(tmp_path: Path) -> None:
    write_folder(tmp_path / "pets", ("cat", "dog"))
    shutil.copytree(tmp_path / "pets", tmp_path / "copy", copy_function=shutil.copy)
    pets = open_folder(tmp_path / "pets", 16).fingerprint()
    assert open_folder(tmp_path / "copy", 16).fingerprint() == pets
    assert open_folder(tmp_path / "copy", 8).fingerprint() != pets
    (tmp_path / "copy" / "cat").rename(tmp_path / "copy" / "bat")
    assert open_folder(tmp_path / "copy", 16).fingerprint() != pets


def test_some_images_are_chosen_from_all_classes_with_their_labels(tmp_path: Path) -> None:
    write_folder(tmp_path, ("cat", "dog"), 40)
    dataset = open_folder(tmp_path, 8)
    images, class_labels = dataset.some(20, seed=0)
    assert class_labels.any(dim=0).all()
    rows = {image.tobytes(): row for image, row in zip(dataset.images, dataset.class_labels, strict=True)}
    assert all(row.equal(rows[image.tobytes()]) for image, row in zip(images, class_labels, strict=True))
    assert len({image.tobytes() for image in images}) == 20
    assert len(dataset.some(100, seed=0)[0]) == 40
    assert dataset.some_labels(2000, seed=0).mean(dim=0).tolist() == pytest.approx([0.5, 0.5], abs=0.03)
