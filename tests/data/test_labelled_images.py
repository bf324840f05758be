"""Images are decoded once and read as they are on disk; whatever is wrong with them is listed by name."""

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
from lab_ddpm.tools.files import MACHINE, TEMPORARY_PREFIX

FIRST, SECOND, LAST = "CLEVR_train_000000_0.png", "CLEVR_train_000000_1.png", "CLEVR_train_000006_2.png"


def only_cache(root: Path) -> Path:
    (path,) = (root / ".cache").glob("*.npy")
    return path


def relabel(root: Path, name: str, condition: object) -> None:
    labels = json.loads((root / "train.json").read_text(encoding="utf-8"))
    (root / "train.json").write_text(json.dumps(labels | {name: condition}), encoding="utf-8")


def test_a_image_and_its_label_have_the_same_place(tiny_dataset: Path) -> None:
    dataset = open_labelled_images(tiny_dataset, 16, OBJECTS)
    labels = load_labels(tiny_dataset / "train.json", OBJECTS)
    assert len(dataset) == len(labels) == 21
    assert dataset.names == sorted(labels)
    assert dataset.class_labels.equal(encode([labels[name] for name in dataset.names], OBJECTS))
    for name, image in zip(dataset.names, dataset.images, strict=True):
        np.testing.assert_array_equal(image, read_image(tiny_dataset / "images" / name, 16))


def test_the_second_opening_reads_the_cache_of_the_first(tiny_dataset: Path) -> None:
    open_labelled_images(tiny_dataset, 16, OBJECTS)
    cache = only_cache(tiny_dataset)
    before = cache.stat()
    open_labelled_images(tiny_dataset, 16, OBJECTS)
    assert only_cache(tiny_dataset) == cache
    assert cache.stat().st_ino == before.st_ino


@pytest.mark.parametrize("with_checksum", [True, False])
def test_a_damaged_cache_is_made_again(tiny_dataset: Path, with_checksum: bool) -> None:
    expected = np.array(open_labelled_images(tiny_dataset, 16, OBJECTS).images)
    cache = only_cache(tiny_dataset)
    damaged = np.load(cache, mmap_mode="r+")
    damaged[0, 3, 3, 1] ^= 4
    damaged.flush()
    if not with_checksum:
        cache.with_suffix(".npy.sha256").unlink()
    np.testing.assert_array_equal(open_labelled_images(tiny_dataset, 16, OBJECTS).images, expected)


def test_images_are_mapped_and_not_loaded(tiny_dataset: Path) -> None:
    images = open_labelled_images(tiny_dataset, 16, OBJECTS).images
    assert isinstance(images, np.memmap)
    assert not images.flags.writeable


def test_a_changed_image_is_decoded_anew_and_the_old_cache_removed(tiny_dataset: Path) -> None:
    open_labelled_images(tiny_dataset, 16, OBJECTS)
    before = only_cache(tiny_dataset)
    new = np.full((16, 16, 3), 200, dtype=np.uint8)
    write_png(tiny_dataset / "images" / LAST, new)
    np.testing.assert_array_equal(open_labelled_images(tiny_dataset, 16, OBJECTS).images[-1], new)
    assert only_cache(tiny_dataset) != before


def test_images_that_changed_names_are_decoded_anew(tiny_dataset: Path) -> None:
    before = open_labelled_images(tiny_dataset, 16, OBJECTS).images[:2].copy()
    folder = tiny_dataset / "images"
    (folder / FIRST).rename(folder / "swap")
    (folder / SECOND).rename(folder / FIRST)
    (folder / "swap").rename(folder / SECOND)
    np.testing.assert_array_equal(open_labelled_images(tiny_dataset, 16, OBJECTS).images[:2], before[::-1])


def test_the_same_images_elsewhere_and_with_other_times_have_the_same_cache(tiny_dataset: Path, tmp_path: Path) -> None:
    open_labelled_images(tiny_dataset, 16, OBJECTS)
    shutil.copytree(tiny_dataset / "images", tmp_path / "other" / "images", copy_function=shutil.copy)
    shutil.copy(tiny_dataset / "train.json", tmp_path / "other")
    open_labelled_images(tmp_path / "other", 16, OBJECTS)
    assert only_cache(tmp_path / "other").name == only_cache(tiny_dataset).name


def test_each_size_has_its_own_cache(tiny_dataset: Path) -> None:
    assert open_labelled_images(tiny_dataset, 16, OBJECTS).images.shape == (21, 16, 16, 3)
    assert open_labelled_images(tiny_dataset, 8, OBJECTS).images.shape == (21, 8, 8, 3)
    assert len(list((tiny_dataset / ".cache").glob("*.npy"))) == 2


def test_changed_labels_are_read_anew(tiny_dataset: Path) -> None:
    open_labelled_images(tiny_dataset, 16, OBJECTS)
    relabel(tiny_dataset, FIRST, ["cyan cylinder"])
    class_labels = open_labelled_images(tiny_dataset, 16, OBJECTS).class_labels
    assert class_labels[:1].equal(encode([["cyan cylinder"]], OBJECTS))


def test_missing_extra_and_broken_images_and_wrong_labels_are_listed_together(tiny_dataset: Path) -> None:
    images = tiny_dataset / "images"
    (images / FIRST).unlink()
    (images / SECOND).write_bytes((images / SECOND).read_bytes()[:60])
    (images / LAST).write_text("no image", encoding="utf-8")
    shutil.copy(images / "CLEVR_train_000001_0.png", images / "extra.png")
    relabel(tiny_dataset, "CLEVR_train_000002_0.png", ["red cone"])
    relabel(tiny_dataset, "CLEVR_train_000003_0.png", [])
    with pytest.raises(DataError) as caught:
        open_labelled_images(tiny_dataset, 16, OBJECTS)
    lines = str(caught.value).splitlines()
    assert len(lines) == 6
    for name, rule in [
        (FIRST, "missing"),
        (SECOND, "broken image"),
        (LAST, "broken image"),
        ("extra.png", "not listed"),
        ("CLEVR_train_000002_0.png", "got 'red cone'"),
        ("CLEVR_train_000003_0.png", "got an empty list"),
    ]:
        assert any(name in line and rule in line for line in lines), (name, lines)
    assert not list(tiny_dataset.glob(".cache/*.npy"))


def test_a_data_set_that_was_repaired_opens(tiny_dataset: Path) -> None:
    content = (tiny_dataset / "images" / FIRST).read_bytes()
    (tiny_dataset / "images" / FIRST).write_bytes(content[:60])
    with pytest.raises(DataError, match=f"{FIRST}: broken image"):
        open_labelled_images(tiny_dataset, 16, OBJECTS)
    (tiny_dataset / "images" / FIRST).write_bytes(content)
    assert len(open_labelled_images(tiny_dataset, 16, OBJECTS)) == 21


def test_a_wrong_label_is_named_with_its_image(tiny_dataset: Path) -> None:
    relabel(tiny_dataset, SECOND, ["red cube", "red cone"])
    with pytest.raises(DataError, match=f"train.json: {SECOND}: .*an object must be one of .*got 'red cone'"):
        open_labelled_images(tiny_dataset, 16, OBJECTS)


def test_labels_are_checked_against_the_vocabulary_that_is_asked_for(tiny_dataset: Path) -> None:
    with pytest.raises(DataError, match=r"an object must be one of \['cat', 'dog'\]"):
        open_labelled_images(tiny_dataset, 16, labels=("cat", "dog"))


def test_a_root_without_images_or_labels_is_named(tiny_dataset: Path, tmp_path: Path) -> None:
    assert has_images(tiny_dataset)
    assert not has_images(tmp_path)
    with pytest.raises(DataError, match=r"train.json: no such file"):
        open_labelled_images(tmp_path, 16, OBJECTS)
    shutil.rmtree(tiny_dataset / "images")
    assert not has_images(tiny_dataset)
    with pytest.raises(DataError, match=r"images: no such folder of images"):
        open_labelled_images(tiny_dataset, 16, OBJECTS)


def test_what_a_killed_decoding_left_is_removed(tiny_dataset: Path) -> None:
    leftover = tiny_dataset / ".cache" / f"{TEMPORARY_PREFIX}4194305.{MACHINE}-train-16-0.npy"
    leftover.parent.mkdir()
    leftover.write_bytes(b"half")
    open_labelled_images(tiny_dataset, 16, OBJECTS)
    assert not leftover.exists()


def test_a_read_only_data_set_has_its_cache_in_the_cache_folder_of_the_user(
    tiny_dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr("os.access", lambda path, mode: path != tiny_dataset)  # root may write everywhere
    assert len(open_labelled_images(tiny_dataset, 16, OBJECTS)) == 21
    assert not (tiny_dataset / ".cache").exists()
    assert len(list((tmp_path / "cache" / "lab_ddpm").rglob("*.npy"))) == 1


def test_hidden_files_beside_the_images_do_not_matter(tiny_dataset: Path) -> None:
    (tiny_dataset / "images" / ".DS_Store").touch()
    assert len(open_labelled_images(tiny_dataset, 16, OBJECTS)) == 21


def write_masks(root: Path, value_of: dict[str, int] | None = None) -> None:
    """Beside each image a mask whose left half shows its first label."""
    for name, condition in load_labels(root / "train.json", OBJECTS).items():
        mask = np.zeros((24, 32, 1), dtype=np.uint8)
        mask[:, :16] = (value_of or {}).get(name, OBJECTS.index(condition[0]) + 1)
        write_png(root / "masks" / name, mask)


def test_masks_are_opened_where_they_are_asked_for(tiny_dataset: Path) -> None:
    write_masks(tiny_dataset)
    without = open_labelled_images(tiny_dataset, 16, OBJECTS)
    dataset = open_labelled_images(tiny_dataset, 16, OBJECTS, with_masks=True)
    assert without.masks is None
    assert dataset.masks is not None
    assert dataset.masks.shape == (21, 16, 16, 1)
    for name, mask, row in zip(dataset.names, dataset.masks, dataset.class_labels, strict=True):
        place = load_labels(tiny_dataset / "train.json", OBJECTS)[name][0]
        assert set(mask[:, :8].ravel().tolist()) == {OBJECTS.index(place) + 1}
        assert not mask[:, 8:].any()
        assert row[OBJECTS.index(place)] == 1
    assert dataset.fingerprint() != without.fingerprint()
    before = dataset.fingerprint()
    mask = np.zeros((24, 32, 1), dtype=np.uint8)
    write_png(tiny_dataset / "masks" / FIRST, mask)
    assert open_labelled_images(tiny_dataset, 16, OBJECTS, with_masks=True).fingerprint() != before


def test_masks_that_are_missing_or_show_what_is_not_there_are_listed_together(tiny_dataset: Path) -> None:
    shown = load_labels(tiny_dataset / "train.json", OBJECTS)[SECOND]
    absent = next(place for place, name in enumerate(OBJECTS) if name not in shown)
    write_masks(tiny_dataset, {FIRST: 25, SECOND: absent + 1})
    (tiny_dataset / "masks" / LAST).unlink()
    with pytest.raises(DataError) as refusal:
        open_labelled_images(tiny_dataset, 16, OBJECTS, with_masks=True)
    lines = str(refusal.value).splitlines()
    assert len(lines) == 3
    assert f"{tiny_dataset / 'masks' / LAST}: no such mask" in lines
    assert f"{tiny_dataset / 'masks' / FIRST}: must have values up to 24, got 25" in lines
    assert f"{tiny_dataset / 'masks' / SECOND}: shows {OBJECTS[absent]!r}, which train.json does not list" in lines


def test_masks_are_checked_against_labels_that_changed(tiny_dataset: Path) -> None:
    write_masks(tiny_dataset)
    open_labelled_images(tiny_dataset, 16, OBJECTS, with_masks=True)
    with pytest.raises(DataError, match="shows"):
        open_labelled_images(tiny_dataset, 16, tuple(reversed(OBJECTS)), with_masks=True)
    shown = load_labels(tiny_dataset / "train.json", OBJECTS)[FIRST]
    relabel(tiny_dataset, FIRST, [next(name for name in OBJECTS if name not in shown)])
    with pytest.raises(DataError, match=f"{FIRST}: shows {shown[0]!r}, which train.json does not list"):
        open_labelled_images(tiny_dataset, 16, OBJECTS, with_masks=True)


def test_a_folder_without_masks_is_named_once(tiny_dataset: Path) -> None:
    shutil.rmtree(tiny_dataset / "masks")
    with pytest.raises(DataError) as refusal:
        open_labelled_images(tiny_dataset, 16, OBJECTS, with_masks=True)
    assert str(refusal.value) == f"{tiny_dataset / 'masks'}: no such folder of masks, which say what stands where"


def test_the_mask_of_a_jpeg_is_a_png(tiny_dataset: Path) -> None:
    write_masks(tiny_dataset)
    renamed = FIRST.replace(".png", ".jpg")
    (tiny_dataset / "images" / FIRST).rename(tiny_dataset / "images" / renamed)
    labels = json.loads((tiny_dataset / "train.json").read_text(encoding="utf-8"))
    labels[renamed] = labels.pop(FIRST)
    (tiny_dataset / "train.json").write_text(json.dumps(labels), encoding="utf-8")
    dataset = open_labelled_images(tiny_dataset, 16, OBJECTS, with_masks=True)
    assert dataset.masks is not None
    assert dataset.masks[dataset.names.index(renamed)].max() == OBJECTS.index(labels[renamed][0]) + 1
