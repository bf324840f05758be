"""Images to score, matched to conditions by the numbers in their names."""

from pathlib import Path

import numpy as np
import pytest

from lab_ddpm.data.images import write_png
from lab_ddpm.data.numbered_images import find_numbered_images, read_numbered_images
from lab_ddpm.tools.errors import DataError


def write(folder: Path, *names: str, size: int = 8) -> None:
    for value, name in enumerate(names):
        write_png(folder / name, np.full((size, size, 3), 10 * value, dtype=np.uint8))


def test_the_last_number_in_the_name_counts(tmp_path: Path) -> None:
    names = ["00.png", "img_1.png", "2_sample.png", "seed7_3.PNG", "0004.png", *(f"{n}.png" for n in range(5, 12))]
    write(tmp_path, *reversed(names))
    write(tmp_path, "grid.png", ".writing-00.png")
    (tmp_path / "manifest_5.json").touch()
    assert [path.name for path in find_numbered_images(tmp_path, 12)] == names


def test_images_of_any_size_come_in_order(tmp_path: Path) -> None:
    write(tmp_path, "0.png", "1.png", size=100)
    images = read_numbered_images(tmp_path, 2, 64)
    assert images.shape == (2, 64, 64, 3)
    assert images[:, 0, 0, 0].tolist() == [0, 10]


def test_every_wrong_file_is_named(tmp_path: Path) -> None:
    write(tmp_path, "0.png", "3.png", "03.png", "7.png", "x_9.png")
    with pytest.raises(DataError, match=r"1, 2; .*7\.png, x_9\.png; .*03\.png = 3\.png"):
        find_numbered_images(tmp_path, 4)
    for name in ("1.png", "2.png"):
        (tmp_path / name).write_bytes((tmp_path / "0.png").read_bytes()[:40])
    for name in ("03.png", "7.png", "x_9.png"):
        (tmp_path / name).unlink()
    with pytest.raises(DataError, match=r"(?s)1\.png: .*2\.png: "):
        read_numbered_images(tmp_path, 4, 64)


def test_missing_and_empty_folders(tmp_path: Path) -> None:
    write(tmp_path, "grid.png")
    for folder in (tmp_path / "none", tmp_path):
        with pytest.raises(DataError, match=str(folder)):
            find_numbered_images(folder, 2)
