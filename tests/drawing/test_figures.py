"""Captions, strips and animations, checked by their pixels."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from lab_ddpm.data.images import Images, to_tensor
from lab_ddpm.diffusion.reverse_process import FINISHED
from lab_ddpm.drawing.figures import DenoisingRecorder, denoising_frames, denoising_strip, labelled_grid

TRIPLE = "yellow cylinder, purple cylinder, brown cylinder"


def images_of(count: int, size: int = 16, channels: int = 3, seed: int = 0) -> Images:
    return np.random.default_rng(seed).integers(0, 200, (count, size, size, channels), dtype=np.uint8)


def record(timesteps: list[int], count: int = 3, batch: int = 5) -> DenoisingRecorder:
    """A recorder that has seen one batch, in which the image at noise level t has the gray value t / 1000."""
    recorder = DenoisingRecorder(count)
    for timestep in timesteps:
        recorder(timestep, torch.full((batch, 3, 16, 16), timestep / 500 - 1))
    recorder(FINISHED, torch.full((batch, 3, 16, 16), 1.0))
    return recorder


def border_is_white(figure: Images) -> bool:
    return all(bool((edge == 255).all()) for edge in (figure[0], figure[-1], figure[:, 0], figure[:, -1]))


def white_bands(figure: Images, axis: int) -> list[tuple[int, int]]:
    """(start, length) of the runs of rows (axis 0) or columns (axis 1) that hold any ink."""
    ink = (figure != 255).any(axis=(1 - axis, 2)).astype(int)
    edges = np.flatnonzero(np.diff(np.concatenate([[0], ink, [0]]))).tolist()
    return [(start, end - start) for start, end in zip(edges[::2], edges[1::2], strict=True)]


@pytest.mark.parametrize("scale", [1, 2, 8])
def test_captions_stay_inside_and_clear_of_the_images(scale: int) -> None:
    figure = labelled_grid(images_of(3), ["red cube", TRIPLE, "cyan sphere, gray cube"], columns=2, scale=scale)
    assert border_is_white(figure)
    heights = [length for _, length in white_bands(figure, axis=0)]
    assert heights.count(16 * scale) >= 2  # two rows of images, each apart from the text under it
    assert len(heights) >= 4


@pytest.mark.parametrize("scale", [1, 8])
def test_a_caption_makes_its_column_wider_rather_than_being_cut(scale: int) -> None:
    """Text drawn in a narrow grid has as much ink as the same text where there is room for it."""
    image = np.full((1, 16, 16, 3), 255, dtype=np.uint8)  # white, so that all ink is text
    names = TRIPLE.split(", ")
    roomy = sum(
        (labelled_grid(image, [name], 1, scale=20) < 128).sum() for name in (names[0] + ",", names[1] + ",", names[2])
    )
    assert (labelled_grid(image, [TRIPLE], 1, scale=scale) < 128).sum() == roomy


def test_grid_holds_the_images_in_order() -> None:
    shades = np.stack([np.full((16, 16, 3), shade, dtype=np.uint8) for shade in (10, 90, 170)])
    figure = labelled_grid(shades, ["a", "b", "c"], columns=2, scale=2)
    found = {shade: np.argwhere((figure == shade).all(axis=2)) for shade in (10, 90, 170)}
    assert found[10][:, 0].min() == found[90][:, 0].min() < found[170][:, 0].min()
    assert found[10][:, 1].min() < found[90][:, 1].min()


def test_grid_takes_gray_images_and_needs_a_caption_each() -> None:
    assert labelled_grid(images_of(2, channels=1), ["0", "1"], columns=2).shape[2] == 3
    with pytest.raises(ValueError, match="zip"):
        labelled_grid(images_of(2), ["only one"], columns=2)


def test_strip_of_a_thousand_steps_shows_the_progress_of_the_report() -> None:
    states = record(list(range(999, -1, -1))).strip_states()
    assert [999 - t for t in states if t != FINISHED] == list(range(550, 951, 50))
    assert list(states)[-1] == FINISHED


@pytest.mark.parametrize("steps", [50, 15, 3])
def test_strip_of_fewer_steps_shows_the_nearest_states_once_each(steps: int) -> None:
    timesteps = [999 - 1000 * step // steps for step in range(steps)]
    wanted = [449 - 50 * column for column in range(9)]
    recorder = record(timesteps)
    *shown, last = recorder.strip_states()
    assert last == FINISHED
    assert shown == sorted({min(timesteps, key=lambda t: abs(t - level)) for level in wanted}, reverse=True)
    for t, state in recorder.strip_states().items():
        assert abs(int(state[0, 0, 0, 0]) - (255 if t == FINISHED else t * 0.255)) < 1


def test_strip_has_a_row_per_image_and_a_column_per_state() -> None:
    states = {t: images_of(3, size=48, seed=t + 1) for t in (449, 99, FINISHED)}
    figure = denoising_strip(states, ["red cube", TRIPLE, "gray cube, cyan cube"])
    assert border_is_white(figure)
    images = [length for _, length in white_bands(figure[40:], axis=1) if length == 96]
    assert len(images) == 3
    assert [length for _, length in white_bands(figure[:, -100:], axis=0)].count(96) == 3
    assert (figure[-6 - 96 : -6 : 2, -6 - 96 : -6 : 2] == states[FINISHED][2]).all()


def test_recorder_follows_spread_images_of_the_first_batch_only() -> None:
    recorder = record([999, 499], count=3, batch=5)
    assert recorder.indices == [0, 2, 4]
    before = recorder.strip_states()
    recorder(400, torch.zeros(2, 3, 16, 16))  # nearer to levels of the strip than the two that were seen
    after = recorder.strip_states()
    assert after.keys() == before.keys()
    assert all((after[level] == before[level]).all() for level in before)
    short = record([999], count=8, batch=2)
    assert short.indices == [0, 1]


def test_recorder_keeps_few_states_of_a_long_run() -> None:
    recorder = record(list(range(999, -1, -1)))
    assert 16 <= len(recorder.animation_states()) <= 40
    assert len({id(state) for _, state in recorder._nearest.values()}) <= 40


def test_an_unfinished_recording_is_refused() -> None:
    with pytest.raises(RuntimeError, match="not finished"):
        DenoisingRecorder().strip_states()


def test_write_makes_a_strip_and_an_animation_from_noise_to_image(tmp_path) -> None:
    recorder = DenoisingRecorder(2)
    images = to_tensor(images_of(3))
    for timestep in (999, 666, 333):
        recorder(timestep, images * (1 - timestep / 1000))
    recorder(FINISHED, images)
    recorder.write(tmp_path, [("red cube",), ("gray cube",), ("cyan cube", "blue sphere")])
    frames = denoising_frames(recorder.animation_states(), ["red cube", "cyan cube, blue sphere"])
    assert border_is_white(frames[0])
    assert {frame.shape for frame in frames} == {frames[0].shape}
    with Image.open(tmp_path / "denoising.gif") as gif:
        assert getattr(gif, "n_frames", 1) == len(frames) == 4
        assert gif.size == frames[0].shape[1::-1]
    with Image.open(tmp_path / "strip.png") as strip:
        assert strip.size[0] > strip.size[1]
