"""Folders of images of one's own: with and without labels, of mixed kinds, and what is refused."""

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
    dataset = open_folder(tmp_path, 16)
    assert dataset.images.shape == (6, 16, 16, 3)
    assert dataset.labels == ()
    assert dataset.class_labels.shape == (6, 0)
    assert dataset.names == sorted(dataset.names)


def test_sub_folders_are_classes_at_any_depth(tmp_path: Path) -> None:
    write_folder(tmp_path, ("dog", "cat"))
    (tmp_path / "cat" / "big").mkdir()
    (tmp_path / "cat" / "1.png").rename(tmp_path / "cat" / "big" / "1.png")
    dataset = open_folder(tmp_path, 16)
    assert dataset.labels == ("cat", "dog")
    named = {
        name: dataset.labels[int(row.argmax())] for name, row in zip(dataset.names, dataset.class_labels, strict=True)
    }
    assert named == {name: name.split("/")[0] for name in dataset.names}
    assert dataset.class_labels.sum(dim=1).tolist() == [1.0] * 6


def test_a_label_file_gives_any_number_of_labels(tmp_path: Path) -> None:
    write_folder(tmp_path / "images")
    names = sorted(path.name for path in (tmp_path / "images").iterdir())
    labels = {name: ["hat", "dog"] if index % 2 else ["cat"] for index, name in enumerate(names)}
    (tmp_path / "train.json").write_text(json.dumps(labels), encoding="utf-8")
    dataset = open_folder(tmp_path, 16)
    assert dataset.labels == ("cat", "dog", "hat")
    assert dataset.class_labels.tolist() == [[1, 0, 0], [0, 1, 1]] * 3


def test_an_objects_file_gives_the_order_of_the_labels(tmp_path: Path) -> None:
    write_folder(tmp_path / "images", count=1)
    (tmp_path / "train.json").write_text('{"0.png": ["cat"]}', encoding="utf-8")
    (tmp_path / "objects.json").write_text('{"dog": 0, "cat": 1}', encoding="utf-8")
    assert open_folder(tmp_path, 16).class_labels.tolist() == [[0, 1]]


def test_a_wide_image_is_cut_to_its_central_square(tmp_path: Path) -> None:
    image = np.zeros((10, 30, 3), dtype=np.uint8)
    image[:, 10:20] = 200
    Image.fromarray(image).save(tmp_path / "wide.png")
    assert (open_folder(tmp_path, 10).images == 200).all()


def test_a_transparent_image_is_laid_on_white(tmp_path: Path) -> None:
    Image.new("RGBA", (8, 8), (0, 0, 0, 0)).save(tmp_path / "clear.png")
    assert (open_folder(tmp_path, 8).images == 255).all()


def test_everything_that_is_wrong_is_named_at_once(tmp_path: Path) -> None:
    write_folder(tmp_path, ("dog", "cat"))
    (tmp_path / "dog" / "notes.txt").write_text("no image", encoding="utf-8")
    (tmp_path / "cat" / "broken.png").write_bytes((tmp_path / "cat" / "1.png").read_bytes()[:40])
    Image.new("RGB", (4, 4)).save(tmp_path / "loose.png")
    with pytest.raises(DataError) as caught:
        open_folder(tmp_path, 16)
    message = str(caught.value)
    for name, rule in (("notes.txt", "not an image"), ("broken.png", "broken image"), ("loose.png", "sub-folder")):
        assert any(name in line and rule in line for line in message.splitlines()), message
    assert "1.png" not in message


def test_a_label_file_that_names_missing_images(tmp_path: Path) -> None:
    write_folder(tmp_path / "images", count=1)
    (tmp_path / "train.json").write_text('{"0.png": ["cat"], "7.png": ["cat"]}', encoding="utf-8")
    with pytest.raises(DataError, match=r"7\.png: listed in train.json, but missing"):
        open_folder(tmp_path, 16)


@pytest.mark.parametrize("content", ["[]", "{}", '{"0.png": "cat"}', '{"0.png": [1]}'])
def test_a_label_file_of_another_shape(tmp_path: Path, content: str) -> None:
    write_folder(tmp_path / "images", count=1)
    (tmp_path / "train.json").write_text(content, encoding="utf-8")
    with pytest.raises(DataError, match=r"train\.json: must be a non-empty JSON object"):
        open_folder(tmp_path, 16)


def test_no_folder_and_no_images(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such folder of images"):
        open_folder(tmp_path / "absent", 16)
    (tmp_path / ".hidden").write_text("", encoding="utf-8")
    with pytest.raises(DataError, match="must hold some, got none"):
        open_folder(tmp_path, 16)


@pytest.mark.parametrize("parts", [("train", "test"), ("Training", "validation"), ("test",)], ids=", ".join)
@pytest.mark.parametrize("classes", [("cat", "dog"), ()], ids=["classes", "no classes"])
def test_the_parts_of_a_data_set_are_not_taken_for_classes(
    tmp_path: Path, parts: tuple[str, ...], classes: tuple[str, ...]
) -> None:
    for part in parts:
        write_folder(tmp_path / part, classes, count=2)
    with pytest.raises(DataError, match="holds the parts of a data set") as refusal:
        open_folder(tmp_path, 16)
    assert all(part in str(refusal.value) for part in parts)
    assert open_folder(tmp_path / parts[0], 16).labels == classes  # as the message says


def test_a_class_may_have_the_name_of_a_part(tmp_path: Path) -> None:
    write_folder(tmp_path, ("train", "bus"))
    assert open_folder(tmp_path, 16).labels == ("bus", "train")


def test_masks_go_with_a_label_file(tiny_dataset: Path) -> None:
    dataset = open_folder(tiny_dataset, 16, with_masks=True)
    assert dataset.masks is not None
    assert dataset.masks.shape == (21, 16, 16, 1)
    (tiny_dataset / "train.json").unlink()
    with pytest.raises(UserError, match=r"`model.layout_scale` must be 0 for .*: masks go with a label file"):
        open_folder(tiny_dataset, 16, with_masks=True)
