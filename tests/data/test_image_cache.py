"""Images are decoded once, and again when anything about them changes; damage is noticed."""

import os
import pickle
import shutil
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from filelock import FileLock
from PIL import Image

from lab_ddpm.data import decoding, image_cache
from lab_ddpm.data.image_dataset import ImageDataset, Kinds
from lab_ddpm.data.image_folder import open_folder
from lab_ddpm.tools.files import MACHINE, TEMPORARY_PREFIX


def write_grey(path: Path, level: int) -> None:
    """A PNG file whose size does not depend on the level."""
    Image.fromarray(np.full((16, 16, 3), level, dtype=np.uint8)).save(path, compress_level=0)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Three grey images."""
    (tmp_path / "images").mkdir()
    for level in (10, 20, 30):
        write_grey(tmp_path / "images" / f"{level}.png", level)
    return tmp_path / "images"


def levels(dataset: ImageDataset) -> list[int]:
    return dataset.images[:, 0, 0, 0].tolist()


def caches(root: Path) -> list[Path]:
    return sorted((root / ".cache").glob("*.npy"))


def change_unseen(path: Path, level: int) -> None:
    """Another image, in a file of the same size and time."""
    before = path.stat()
    write_grey(path, level)
    assert path.stat().st_size == before.st_size
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def test_the_second_opening_maps_the_cache_of_the_first(root: Path) -> None:
    images = open_folder(root, 16).images
    assert isinstance(images, np.memmap)
    assert not images.flags.writeable
    (cache,) = caches(root)
    before = cache.stat().st_ino
    open_folder(root, 16)
    assert (caches(root), cache.stat().st_ino) == ([cache], before)
    assert open_folder(root, 8).images.shape == (3, 8, 8, 3)
    assert len(caches(root)) == 2  # one for each size


def test_files_of_the_same_sizes_and_times_are_not_read_again(root: Path) -> None:
    first = open_folder(root, 16)
    change_unseen(root / "20.png", 99)
    assert open_folder(root, 16).content == open_folder(root, 8).content == first.content
    (root / ".cache" / "train.json").unlink()
    unremembered = open_folder(root, 16)
    assert levels(unremembered) == [10, 99, 30]
    assert unremembered.content != first.content


def test_an_image_that_changed_is_decoded_anew_and_the_old_cache_removed(root: Path) -> None:
    first = open_folder(root, 16)
    before = caches(root)
    modified = (root / "20.png").stat().st_mtime_ns
    change_unseen(root / "20.png", 99)
    os.utime(root / "20.png", ns=(modified, modified + 1))
    changed = open_folder(root, 16)
    assert levels(changed) == [10, 99, 30]
    assert changed.fingerprint() != first.fingerprint()
    assert len(caches(root)) == 1
    assert caches(root) != before
    os.utime(root / "20.png", (1, 1))  # only touched
    assert open_folder(root, 16).fingerprint() == changed.fingerprint()
    (root / "10.png").rename(root / "15.png")
    assert open_folder(root, 16).content != changed.content


@pytest.mark.parametrize("content", ["", "[]", '{"status_hash": 1, "key": "no"}'])
def test_a_memory_that_cannot_be_used_is_written_anew(root: Path, content: str) -> None:
    first = open_folder(root, 16)
    memory = root / ".cache" / "train.json"
    remembered = memory.read_text(encoding="utf-8")
    memory.write_text(content, encoding="utf-8")
    assert open_folder(root, 16).content == first.content
    assert memory.read_text(encoding="utf-8") == remembered


@pytest.mark.parametrize("with_checksum", [True, False])
def test_a_damaged_cache_is_made_again(root: Path, with_checksum: bool) -> None:
    open_folder(root, 16)
    (cache,) = caches(root)
    damaged = np.load(cache, mmap_mode="r+")
    damaged[0, 0, 0] ^= 4
    damaged.flush()
    if not with_checksum:
        cache.with_suffix(".npy.sha256").unlink()
    assert levels(open_folder(root, 16)) == [10, 20, 30]


def test_what_a_killed_process_left_is_removed(root: Path) -> None:
    leftover = root / ".cache" / f"{TEMPORARY_PREFIX}4194305.{MACHINE}-train-16-0.npy"
    leftover.parent.mkdir()
    leftover.write_bytes(b"half")
    open_folder(root, 16)
    assert not leftover.exists()


def test_a_read_only_folder_has_its_cache_in_the_cache_folder_of_the_user(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr("os.access", lambda path, mode: path != root)  # the superuser may write everywhere
    assert levels(open_folder(root, 16)) == [10, 20, 30]
    assert not (root / ".cache").exists()
    assert len(list((tmp_path / "cache" / "lab_ddpm").rglob("*.npy"))) == 1


def test_a_second_run_waits_for_the_cache_of_the_first(root: Path) -> None:
    opened: list[ImageDataset] = []
    second = threading.Thread(target=lambda: opened.append(open_folder(root, 16)))
    (root / ".cache").mkdir()
    with FileLock(root / ".cache" / ".lock"):
        second.start()
        second.join(0.3)
        assert not opened
        assert not caches(root)
    second.join(30)
    assert levels(opened[0]) == [10, 20, 30]


def test_classes_that_swap_their_folders_are_noticed(tmp_path: Path) -> None:
    root = tmp_path / "images"
    for name, value in (("cat", 0), ("dog", 255)):
        (root / name).mkdir(parents=True)
        Image.fromarray(np.full((8, 8, 3), value, np.uint8)).save(root / name / "0.bmp")
        os.utime(root / name / "0.bmp", (1, 1))
    assert levels(open_folder(root, 8)) == [0, 255]
    for old, new in (("cat", "spare"), ("dog", "cat"), ("spare", "dog")):
        (root / old).rename(root / new)
    assert levels(open_folder(root, 8)) == [255, 0]


def test_caching_that_was_killed_continues(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    decode = image_cache.decoded
    monkeypatch.setattr(decoding, "_CHUNK", 1)
    calls: list[int] = []

    def killed_at_the_third(*arguments: Any) -> decoding.Decoded:
        calls.append(len(calls))
        if len(calls) == 3:
            raise SystemExit
        return decode(*arguments)

    monkeypatch.setattr(image_cache, "decoded", killed_at_the_third)
    with pytest.raises(SystemExit):
        open_folder(root, 16)
    dataset = open_folder(root, 16)
    assert (levels(dataset), len(calls)) == ([10, 20, 30], 4)
    assert dataset.kinds == Kinds({"16 x 16": 3}, {"RGB": 3})
    assert len(list((root / ".cache").iterdir())) == 4  # the cache, its note, the memory and the lock


def test_two_that_cache_at_the_same_time_share_the_work(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for level in range(40, 80):
        write_grey(root / f"{level}.png", level)
    alone = open_folder(root, 16)
    shutil.rmtree(root / ".cache")
    decode = image_cache.decoded
    monkeypatch.setattr(decoding, "_CHUNK", 1)
    calls: list[str] = []

    def slow(*arguments: Any) -> decoding.Decoded:
        calls.append(threading.current_thread().name)
        time.sleep(0.02)
        return decode(*arguments)

    monkeypatch.setattr(image_cache, "decoded", slow)
    with ThreadPoolExecutor() as pool:
        one, two = (pool.submit(open_folder, root, 16) for _ in range(2))
    assert len(calls) < 1.5 * len(alone)
    for opened in (one.result(), two.result()):
        assert levels(opened) == levels(alone)
        assert (opened.kinds, opened.fingerprint()) == (alone.kinds, alone.fingerprint())
    assert len(list((root / ".cache").iterdir())) == 4


def test_a_process_that_loads_images_opens_the_cache_itself(root: Path) -> None:
    images = open_folder(root, 64).images
    for sent in (images, images[1:], images[..., 1:]):
        np.testing.assert_array_equal(pickle.loads(pickle.dumps(sent)), sent)
    assert len(pickle.dumps(images)) < 1000 < images.nbytes
