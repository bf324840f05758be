"""Folders of the user's own images: with and without labels, of mixed kinds, and what is refused."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lab_ddpm.data.image_folder import open_folder
from lab_ddpm.tools.errors import DataError, UserError
from real_formats import write_folder


def test_images_of_mixed_sizes_and_modes_without_labels(tmp_path: Path) -> None:
    write_folder(tmp_path)
    (tmp_path / ".hidden").touch()
    dataset = open_folder(tmp_path, 16)
    assert dataset.images.shape == (6, 16, 16, 3)
    assert (dataset.labels, dataset.class_labels.shape) == ((), (6, 0))
    assert dataset.names == sorted(dataset.names)


def test_sub_folders_are_classes_at_any_depth(tmp_path: Path) -> None:
    write_folder(tmp_path, ("dog", "cat"))
    (tmp_path / "cat" / "big").mkdir()
    (tmp_path / "cat" / "1.png").rename(tmp_path / "cat" / "big" / "1.png")
    dataset = open_folder(tmp_path, 16)
    assert dataset.labels == ("cat", "dog")
    classes = [dataset.labels[int(row.argmax())] for row in dataset.class_labels]
    assert classes == [name.split("/")[0] for name in dataset.names]
    assert dataset.class_labels.sum(dim=1).tolist() == [1.0] * 6


def test_a_label_file_gives_any_number_of_labels(tmp_path: Path) -> None:
    write_folder(tmp_path / "images")
    names = sorted(path.name for path in (tmp_path / "images").iterdir())
    labels = {name: ["hat", "dog"] if index % 2 else ["cat"] for index, name in enumerate(names)}
    (tmp_path / "train.json").write_text(json.dumps(labels), encoding="utf-8")
    dataset = open_folder(tmp_path, 16)
    assert dataset.labels == ("cat", "dog", "hat")
    assert dataset.class_labels.tolist() == [[1, 0, 0], [0, 1, 1]] * 3
    (tmp_path / "objects.json").write_text('{"hat": 0, "dog": 1, "cat": 2}', encoding="utf-8")
    assert open_folder(tmp_path, 16).labels == ("hat", "dog", "cat")


def test_a_wide_image_is_cropped_and_a_transparent_one_gets_a_white_background(tmp_path: Path) -> None:
    wide = np.zeros((10, 30, 3), dtype=np.uint8)
    wide[:, 10:20] = 200
    Image.fromarray(wide).save(tmp_path / "wide.png")
    Image.new("RGBA", (8, 8), (0, 0, 0, 0)).save(tmp_path / "clear.png")
    clear, cropped = open_folder(tmp_path, 10).images
    assert (clear == 255).all()
    assert (cropped == 200).all()


def test_everything_that_is_wrong_is_named_at_once(tmp_path: Path) -> None:
    write_folder(tmp_path, ("dog", "cat"))
    (tmp_path / "dog" / "notes.txt").write_text("no image", encoding="utf-8")
    (tmp_path / "cat" / "broken.png").write_bytes((tmp_path / "cat" / "1.png").read_bytes()[:40])
    Image.new("RGB", (4, 4)).save(tmp_path / "loose.png")
    with pytest.raises(DataError) as caught:
        open_folder(tmp_path, 16)
    lines = str(caught.value).splitlines()
    assert sorted(Path(line.split(": ")[0]).name for line in lines) == ["broken.png", "loose.png", "notes.txt"]


def test_no_folder_and_no_images(tmp_path: Path) -> None:
    for folder in (tmp_path / "absent", tmp_path):
        with pytest.raises(DataError, match=str(folder)):
            open_folder(folder, 16)


@pytest.mark.parametrize("parts", [("train", "test"), ("Training", "validation"), ("test",)], ids=", ".join)
@pytest.mark.parametrize("classes", [("cat", "dog"), ()], ids=["classes", "no classes"])
def test_the_parts_of_a_data_set_are_not_classes(
    tmp_path: Path, parts: tuple[str, ...], classes: tuple[str, ...]
) -> None:
    for part in parts:
        write_folder(tmp_path / part, classes, count=2)
    with pytest.raises(DataError) as refusal:
        open_folder(tmp_path, 16)
    assert str(tmp_path / parts[0]) in str(refusal.value)
    assert open_folder(tmp_path / parts[0], 16).labels == classes  # as the message says


def test_a_class_may_have_the_name_of_a_part(tmp_path: Path) -> None:
    write_folder(tmp_path, ("train", "bus"))
    assert open_folder(tmp_path, 16).labels == ("bus", "train")


def test_only_a_folder_with_a_label_file_has_masks(tiny_dataset: Path) -> None:
    dataset = open_folder(tiny_dataset, 16, with_masks=True)
    assert dataset.masks is not None
    assert dataset.masks.shape == (21, 32, 32, 1)
    (tiny_dataset / "train.json").unlink()
    with pytest.raises(UserError, match="`with_masks`"):
        open_folder(tiny_dataset, 16, with_masks=True)
