"""Conversions lose nothing, an image of any kind is read in one way, and a broken one is named."""

import io
import struct
import zlib
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from PIL import Image
from torchvision.transforms.v2.functional import resize

from lab_ddpm.data.images import (
    Images,
    fit_image,
    image_grid,
    read_image,
    read_mask,
    resize_images,
    to_tensor,
    to_uint8,
    write_gif,
    write_png,
)
from lab_ddpm.tools.errors import DataError, UserError


def noise(height: int, width: int, channels: int = 3) -> Images:
    return np.random.default_rng(0).integers(0, 256, (height, width, channels), dtype=np.uint8)


def png_bytes(image: Images) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, format="PNG")
    return stream.getvalue()


@given(arrays(np.uint8, array_shapes(min_dims=3, max_dims=4, max_side=6)))
def test_images_become_tensors_and_images_again(image: Images) -> None:
    tensor = to_tensor(image)
    assert tensor.shape == (*image.shape[:-3], image.shape[-1], *image.shape[-3:-1])
    assert tensor.dtype == torch.float32
    np.testing.assert_array_equal(to_uint8(tensor), image)


def test_levels_are_between_minus_one_and_one_and_others_are_clipped() -> None:
    levels = np.arange(256, dtype=np.uint8).reshape(16, 16, 1)
    levels.flags.writeable = False
    tensor = to_tensor(levels)
    torch.testing.assert_close(tensor.flatten(), torch.linspace(-1, 1, 256))
    tensor.zero_()
    assert levels.max() == 255  # of a read-only cache, the tensor is a copy
    assert to_uint8(torch.tensor([-9.0, -1.001, 1.001, 9.0]).reshape(1, 2, 2)).flatten().tolist() == [0, 0, 255, 255]


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA", "P", "1", "CMYK", "I;16"])
def test_every_kind_of_image_is_read_as_the_same_colours(tmp_path: Path, mode: str) -> None:
    levels = np.array([[0, 255], [255, 0]], dtype=np.uint8).repeat(8, axis=0).repeat(8, axis=1)
    if mode == "I;16":
        image = Image.fromarray(levels.astype(np.uint16) * 257)
    else:
        image = Image.fromarray(levels).convert("RGB").convert(mode)
    path = tmp_path / ("image.tiff" if mode == "CMYK" else "image.png")
    image.save(path)
    np.testing.assert_array_equal(read_image(path, 16), levels[..., None].repeat(3, axis=-1))


def test_pixels_of_32_bits_are_refused(tmp_path: Path) -> None:
    Image.fromarray(np.full((16, 16), 0.5, dtype=np.float32)).save(tmp_path / "image.tiff")
    with pytest.raises(DataError, match=r"image\.tiff"):
        read_image(tmp_path / "image.tiff", 16)


def test_sixteen_bits_are_scaled_to_eight_and_not_clipped(tmp_path: Path) -> None:
    levels = np.arange(256, dtype=np.uint16).reshape(16, 16)
    Image.fromarray(levels * 257).save(tmp_path / "image.png")
    np.testing.assert_array_equal(read_image(tmp_path / "image.png", 16)[..., 0], levels)


@pytest.mark.parametrize(("height", "width"), [(240, 320), (64, 200), (10, 16)])
def test_reading_resizes_as_torchvision_does_with_antialiasing(tmp_path: Path, height: int, width: int) -> None:
    image = noise(height, width)
    write_png(tmp_path / "image.png", image)
    expected = resize(to_tensor(image), [64, 64], antialias=True)
    difference = to_tensor(read_image(tmp_path / "image.png", 64)) - expected
    assert difference.abs().max() <= 2 / 255  # one of 255 levels of a range that is 2 wide


def test_images_are_squashed_cropped_or_padded_to_height_and_width() -> None:
    stripes = Image.fromarray(np.array([[0] * 4 + [100] * 4 + [200] * 4] * 2, dtype=np.uint8))
    squashed = fit_image(stripes, (2, 3), "squash", 1)[..., 0]
    assert squashed.shape == (2, 3)
    assert (np.diff(squashed.astype(int)) > 80).all()
    cropped = fit_image(stripes, (4, 6), "crop", 1)[..., 0]
    assert cropped.shape == (4, 6)
    assert (cropped == 100).all()  # the middle 3 x 2
    white = Image.new("RGB", (3, 2), "white")
    padded = [[0, 0, 0, 0, 0], [0, 1, 1, 1, 0], [0, 1, 1, 1, 0], [0, 0, 0, 0, 0]]
    np.testing.assert_array_equal(fit_image(white, (4, 5), "pad")[..., 0] // 255, padded)
    with pytest.raises(UserError, match="`image_size`"):
        fit_image(white, (4, 2), "pad")


@pytest.mark.parametrize("size", [8, 20, 64])
def test_images_in_memory_are_resized_like_files(tmp_path: Path, size: int) -> None:
    write_png(tmp_path / "image.png", noise(20, 20))
    resized = resize_images(np.stack([noise(20, 20)] * 2), size)
    np.testing.assert_array_equal(resized, np.stack([read_image(tmp_path / "image.png", size)] * 2))


def test_a_pixel_of_a_resized_mask_has_the_value_that_covers_most_of_it(tmp_path: Path) -> None:
    write_png(tmp_path / "mask.png", np.array([[3] * 9 + [24] * 3 + [0] * 4] * 16, dtype=np.uint8)[..., None])
    assert read_mask(tmp_path / "mask.png", 4)[0, :, 0].tolist() == [3, 3, 24, 0]
    assert set(read_mask(tmp_path / "mask.png", 7).ravel().tolist()) == {0, 3, 24}
    write_png(tmp_path / "mask.png", noise(8, 8))
    with pytest.raises(DataError, match=r"mask\.png"):
        read_mask(tmp_path / "mask.png", 7)


@given(st.data())
def test_a_damaged_image_is_read_or_named(tmp_path_factory, data: st.DataObject) -> None:
    content = bytearray(png_bytes(noise(8, 8)))
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.getbasetemp() / "damaged.png"
    path.write_bytes(content)
    with suppress(DataError):
        assert read_image(path, 8).shape == (8, 8, 3)


def test_a_file_that_cannot_be_read_is_named_once(tmp_path: Path) -> None:
    header = b"IHDR" + struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    chunk = struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))
    gigantic = b"\x89PNG\r\n\x1a\n" + chunk + png_bytes(noise(8, 8))[33:]
    for content in (gigantic, b"red cube", png_bytes(noise(32, 32))[:-100], b"", None):
        if content is None:
            (tmp_path / "image.png").unlink()
        else:
            (tmp_path / "image.png").write_bytes(content)
        with pytest.raises(DataError) as caught:
            read_image(tmp_path / "image.png", 8)
        assert str(caught.value).startswith(f"{tmp_path / 'image.png'}: ")
        assert str(caught.value).count("image.png") == 1


@pytest.mark.parametrize("channels", [1, 3])
def test_a_written_image_is_read_back_and_a_failure_leaves_the_old_one(tmp_path: Path, channels: int) -> None:
    path = tmp_path / "new" / "image.png"
    write_png(path, noise(5, 7, channels))
    with pytest.raises(TypeError):
        write_png(path, np.zeros((4, 4, 5), dtype=np.uint8))
    assert list(path.parent.iterdir()) == [path]
    with Image.open(path) as image:
        np.testing.assert_array_equal(np.asarray(image).reshape(5, 7, channels), noise(5, 7, channels))


def test_a_gif_shows_every_frame_and_the_last_one_longer(tmp_path: Path) -> None:
    write_gif(tmp_path / "frames.gif", [np.full((4, 4, 3), level, dtype=np.uint8) for level in (0, 100, 200)])
    shown = []
    with Image.open(tmp_path / "frames.gif") as gif:
        for index in range(3):
            gif.seek(index)
            shown.append((np.asarray(gif.convert("RGB"))[0, 0, 0], gif.info["duration"]))
    assert shown == [(0, 80), (100, 80), (200, 2000)]


@given(st.integers(2, 7), st.integers(1, 4), st.sampled_from([1, 3]))
def test_a_grid_shows_the_images_row_by_row_on_white(count: int, columns: int, channels: int) -> None:
    height, width, padding = 3, 4, 2
    cells = np.random.default_rng(count).integers(0, 255, (count, height, width, channels), dtype=np.uint8)
    grid = image_grid(cells, columns)
    columns = min(columns, count)
    rows = (count + columns - 1) // columns
    assert grid.shape == (rows * (height + padding) + padding, columns * (width + padding) + padding, channels)
    for index, cell in enumerate(cells):
        row, column = divmod(index, columns)
        top, left = padding + row * (height + padding), padding + column * (width + padding)
        np.testing.assert_array_equal(grid[top : top + height, left : left + width], cell)
        grid[top : top + height, left : left + width] = 255
    assert (grid == 255).all()
    np.testing.assert_array_equal(image_grid(cells[:1], 8), cells[0])
