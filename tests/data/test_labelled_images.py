"""Images, labels and masks are read as they are on disk; whatever is wrong with them is listed by name."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from lab_ddpm.data.conditions import encode, load_labels
from lab_ddpm.data.iclevr import OBJECTS
from lab_ddpm.data.images import read_image, write_png
from lab_ddpm.data.labelled_images import has_images, open_labelled_images
from lab_ddpm.tools.errors import DataError

FIRST, SECOND, LAST = "CLEVR_train_000000_0.png", "CLEVR_train_000000_1.png", "CLEVR_train_000006_2.png"


def relabel(root: Path, name: str, condition: object) -> None:
    labels = json.loads((root / "train.json").read_text(encoding="utf-8"))
    (root / "train.json").write_text(json.dumps(labels | {name: condition}), encoding="utf-8")


def lines_of(error: pytest.ExceptionInfo[DataError]) -> list[str]:
    return str(error.value).splitlines()


def test_an_image_and_its_label_have_the_same_place(tiny_dataset: Path) -> None:
    (tiny_dataset / "images" / ".DS_Store").touch()
    dataset = open_labelled_images(tiny_dataset, 16, OBJECTS)
    labels = load_labels(tiny_dataset / "train.json", OBJECTS)
    assert len(dataset) == len(labels) == 21
    assert dataset.names == sorted(labels)
    assert dataset.class_labels.equal(encode([labels[name] for name in dataset.names], OBJECTS))
    for name, image in zip(dataset.names, dataset.images, strict=True):
        np.testing.assert_array_equal(image, read_image(tiny_dataset / "images" / name, 16))


def test_an_image_that_is_a_broken_link_is_named(tiny_dataset: Path) -> None:
    (tiny_dataset / "images" / FIRST).unlink()
    (tiny_dataset / "images" / FIRST).symlink_to("gone.png")
    with pytest.raises(DataError, match=FIRST):
        open_labelled_images(tiny_dataset, 16, OBJECTS)


def test_images_that_swap_names_and_labels_that_change_are_read_anew(tiny_dataset: Path) -> None:
    before = open_labelled_images(tiny_dataset, 16, OBJECTS).images[:2].copy()
    folder = tiny_dataset / "images"
    (folder / FIRST).rename(folder / "swap")
    (folder / SECOND).rename(folder / FIRST)
    (folder / "swap").rename(folder / SECOND)
    relabel(tiny_dataset, FIRST, ["cyan cylinder"])
    after = open_labelled_images(tiny_dataset, 16, OBJECTS)
    np.testing.assert_array_equal(after.images[:2], before[::-1])
    assert after.class_labels[:1].equal(encode([["cyan cylinder"]], OBJECTS))


def test_missing_extra_and_broken_images_and_wrong_labels_are_listed_together(tiny_dataset: Path) -> None:
    images = tiny_dataset / "images"
    whole = (images / SECOND).read_bytes()
    first = (images / FIRST).read_bytes()
    labels = (tiny_dataset / "train.json").read_bytes()
    (images / FIRST).unlink()
    (images / SECOND).write_bytes(whole[:60])
    shutil.copy(images / "CLEVR_train_000001_0.png", images / "extra.png")
    relabel(tiny_dataset, "CLEVR_train_000002_0.png", ["red cone"])
    relabel(tiny_dataset, "CLEVR_train_000003_0.png", [])
    with pytest.raises(DataError) as caught:
        open_labelled_images(tiny_dataset, 16, OBJECTS)
    wrong = [FIRST, SECOND, "extra.png", "CLEVR_train_000002_0.png", "CLEVR_train_000003_0.png"]
    assert len(lines_of(caught)) == len(wrong)
    assert all(any(name in line for line in lines_of(caught)) for name in wrong)
    assert not list(tiny_dataset.glob(".cache/*.npy"))
    (images / FIRST).write_bytes(first)
    (images / SECOND).write_bytes(whole)
    (images / "extra.png").unlink()
    (tiny_dataset / "train.json").write_bytes(labels)
    assert len(open_labelled_images(tiny_dataset, 16, OBJECTS)) == 21


def test_labels_are_checked_against_the_vocabulary(tiny_dataset: Path) -> None:
    with pytest.raises(DataError, match=r"train\.json.*\['cat', 'dog'\]"):
        open_labelled_images(tiny_dataset, 16, labels=("cat", "dog"))


def test_a_root_without_images_or_labels_is_named(tiny_dataset: Path, tmp_path: Path) -> None:
    assert has_images(tiny_dataset)
    assert not has_images(tmp_path)
    with pytest.raises(DataError, match=r"train\.json"):
        open_labelled_images(tmp_path, 16, OBJECTS)
    shutil.rmtree(tiny_dataset / "images")
    assert not has_images(tiny_dataset)
    with pytest.raises(DataError, match="images: "):
        open_labelled_images(tiny_dataset, 16, OBJECTS)


def write_masks(root: Path, value_of: dict[str, int] | None = None) -> None:
    """For each image a mask whose left half shows its first label."""
    for name, condition in load_labels(root / "train.json", OBJECTS).items():
        mask = np.zeros((24, 32, 1), dtype=np.uint8)
        mask[:, :16] = (value_of or {}).get(name, OBJECTS.index(condition[0]) + 1)
        write_png(root / "masks" / f"{Path(name).stem}.png", mask)


def test_masks_are_opened_if_asked_for(tiny_dataset: Path) -> None:
    renamed = FIRST.replace(".png", ".jpg")  # its mask is a PNG all the same
    (tiny_dataset / "images" / FIRST).rename(tiny_dataset / "images" / renamed)
    labels = json.loads((tiny_dataset / "train.json").read_text(encoding="utf-8"))
    labels[renamed] = labels.pop(FIRST)
    (tiny_dataset / "train.json").write_text(json.dumps(labels), encoding="utf-8")
    write_masks(tiny_dataset)
    without = open_labelled_images(tiny_dataset, 16, OBJECTS)
    dataset = open_labelled_images(tiny_dataset, 16, OBJECTS, with_masks=True)
    assert without.masks is None
    assert dataset.masks is not None
    for name, mask in zip(dataset.names, dataset.masks, strict=True):
        assert set(mask[:, :16].ravel().tolist()) == {OBJECTS.index(labels[name][0]) + 1}
        assert not mask[:, 16:].any()
    assert dataset.fingerprint() != without.fingerprint()
    write_png(tiny_dataset / "masks" / FIRST, np.zeros((24, 32, 1), dtype=np.uint8))
    changed = open_labelled_images(tiny_dataset, 16, OBJECTS, with_masks=True)
    assert changed.fingerprint() != dataset.fingerprint()


def test_masks_that_are_missing_or_wrong_are_listed_together(tiny_dataset: Path) -> None:
    shown = load_labels(tiny_dataset / "train.json", OBJECTS)[SECOND]
    absent = next(place for place, name in enumerate(OBJECTS) if name not in shown)
    write_masks(tiny_dataset, {FIRST: 25, SECOND: absent + 1})
    (tiny_dataset / "masks" / LAST).unlink()
    with pytest.raises(DataError) as caught:
        open_labelled_images(tiny_dataset, 16, OBJECTS, with_masks=True)
    assert sorted(Path(line.split(": ")[0]).name for line in lines_of(caught)) == [FIRST, SECOND, LAST]
    shutil.rmtree(tiny_dataset / "masks")
    with pytest.raises(DataError, match="masks") as caught:
        open_labelled_images(tiny_dataset, 16, OBJECTS, with_masks=True)
    assert len(lines_of(caught)) == 1


def test_masks_are_checked_again_when_labels_change(tiny_dataset: Path) -> None:
    write_masks(tiny_dataset)
    open_labelled_images(tiny_dataset, 16, OBJECTS, with_masks=True)
    with pytest.raises(DataError, match="masks"):
        open_labelled_images(tiny_dataset, 16, tuple(reversed(OBJECTS)), with_masks=True)
    shown = load_labels(tiny_dataset / "train.json", OBJECTS)[FIRST]
    relabel(tiny_dataset, FIRST, [next(name for name in OBJECTS if name not in shown)])
    with pytest.raises(DataError, match=f"masks/{FIRST}: .*{shown[0]}"):
        open_labelled_images(tiny_dataset, 16, OBJECTS, with_masks=True)
