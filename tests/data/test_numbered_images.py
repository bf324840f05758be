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
    names = ["00.png", "img_1.png", "2_sample.png", "seed7_3.PNG", "0004.png"]
    write(tmp_path, *reversed(names))
    write(tmp_path, "grid.png", ".writing-00.png")
    (tmp_path / "manifest_5.json").touch()
    assert [path.name for path in find_numbered_images(tmp_path, 5)] == names


def test_numbers_are_not_sorted_as_text(tmp_path: Path) -> None:
    names = [f"{number}.png" for number in range(12)]
    write(tmp_path, *names)
    assert [path.name for path in find_numbered_images(tmp_path, 12)] == names


def test_images_of_any_size_come_in_order(tmp_path: Path) -> None:
    write(tmp_path, "0.png", "1.png", size=100)
    images = read_numbered_images(tmp_path, 2, 64)
    assert images.shape == (2, 64, 64, 3)
    assert images.dtype == np.uint8
    assert images[:, 0, 0, 0].tolist() == [0, 10]


def test_every_misfit_is_named(tmp_path: Path) -> None:
    write(tmp_path, "0.png", "3.png", "03.png", "7.png", "x_9.png")
    with pytest.raises(DataError) as caught:
        find_numbered_images(tmp_path, 4)
    message = str(caught.value)
    assert "numbered 0 ... 3" in message
    assert "\n" not in message
    assert "missing: 1, 2;" in message
    assert "without a condition: 7.png, x_9.png;" in message
    assert "the same number: 03.png = 3.png" in message


def test_every_broken_image_is_named(tmp_path: Path) -> None:
    write(tmp_path, "0.png", "1.png", "2.png")
    for name in ("0.png", "2.png"):
        (tmp_path / name).write_bytes((tmp_path / name).read_bytes()[:40])
    with pytest.raises(DataError, match=r"(?s)0\.png: broken.*2\.png: broken"):
        read_numbered_images(tmp_path, 3, 64)


def test_missing_and_empty_folders(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such folder"):
        find_numbered_images(tmp_path / "none", 2)
    write(tmp_path, "grid.png")
    with pytest.raises(DataError, match="there is none"):
        find_numbered_images(tmp_path, 2)
