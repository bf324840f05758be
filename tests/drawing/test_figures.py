"""Captions, strips and animations, checked by their pixels."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from conftest import tiny_denoiser
from lab_ddpm.data.images import Images, to_tensor
from lab_ddpm.diffusion.sampling import FINISHED
from lab_ddpm.drawing.charts import object_chart, training_curves
from lab_ddpm.drawing.figures import DenoisingRecorder, labelled_grid

TRIPLE = "yellow cylinder, purple cylinder, brown cylinder"


def images_of(count: int, size: int = 16, channels: int = 3, seed: int = 0) -> Images:
    return np.random.default_rng(seed).integers(0, 200, (count, size, size, channels), dtype=np.uint8)


def record(timesteps: list[int], count: int = 3, batch: int = 5) -> DenoisingRecorder:
    """A recorder that has seen one batch, in which the image at noise level t has the grey value t / 1000."""
    recorder = DenoisingRecorder(tiny_denoiser(), count)
    for timestep in timesteps:
        recorder(timestep, torch.full((batch, 3, 16, 16), timestep / 500 - 1))
    recorder(FINISHED, torch.full((batch, 3, 16, 16), 1.0))
    return recorder


def border_is_white(figure: Images) -> bool:
    return all(bool((edge == 255).all()) for edge in (figure[0], figure[-1], figure[:, 0], figure[:, -1]))


def bands_of_ink(figure: Images, axis: int) -> list[int]:
    """The lengths of the runs of rows (axis 0) or columns (axis 1) that hold any ink."""
    ink = (figure != 255).any(axis=(1 - axis, 2)).astype(int)
    edges = np.flatnonzero(np.diff(np.concatenate([[0], ink, [0]]))).tolist()
    return [end - start for start, end in zip(edges[::2], edges[1::2], strict=True)]


@pytest.mark.parametrize("channels", [1, 3])
def test_a_grid_has_the_images_in_order_apart_from_their_captions(channels: int) -> None:
    shades = np.stack([np.full((16, 16, channels), shade, dtype=np.uint8) for shade in (10, 90, 170)])
    figure = labelled_grid(shades, ["red cube", TRIPLE, "cyan sphere, gray cube"], columns=2)
    assert border_is_white(figure)
    assert bands_of_ink(figure, axis=0).count(32) == 2
    found = {shade: np.argwhere((figure == shade).all(axis=2)) for shade in (10, 90, 170)}
    top, left = ({shade: np.median(places[:, axis]) for shade, places in found.items()} for axis in (0, 1))
    assert top[10] == pytest.approx(top[90], abs=1)
    assert top[90] < top[170]
    assert left[10] < left[90]


def test_a_long_caption_makes_its_column_wider() -> None:
    """Text beside a narrow image has as much ink as the same text where there is room for it."""
    narrow, roomy = (np.full((1, 16, width, 3), 255, dtype=np.uint8) for width in (16, 320))
    parts = ["yellow cylinder,", "purple cylinder,", "brown cylinder"]
    ink = sum((labelled_grid(roomy, [part], 1) < 128).sum() for part in parts)
    assert (labelled_grid(narrow, [TRIPLE], 1) < 128).sum() == ink


@pytest.mark.parametrize("steps", [1000, 15, 3])
def test_a_strip_shows_the_nearest_noise_levels_once_each(steps: int) -> None:
    timesteps = [999 - 1000 * step // steps for step in range(steps)]
    wanted = [449 - 50 * column for column in range(9)]
    recorder = record(timesteps)
    states = recorder.states(recorder.strip_levels)
    nearest = {min(timesteps, key=lambda t: abs(t - level)) for level in wanted}
    assert list(states) == [*sorted(nearest, reverse=True), FINISHED]
    for t, state in states.items():
        assert abs(int(state[0, 0, 0, 0]) - (255 if t == FINISHED else t * 0.255)) < 1


def test_a_recorder_follows_spread_images_of_the_first_batch_only() -> None:
    recorder = record([999, 499])
    assert recorder.indices == [0, 2, 4]
    before = list(recorder.states(recorder.strip_levels))
    recorder(400, torch.zeros(2, 3, 16, 16))
    assert list(recorder.states(recorder.strip_levels)) == before


def test_a_strip_and_an_animation_are_written(tmp_path: Path) -> None:
    recorder, images = DenoisingRecorder(tiny_denoiser(), 2), to_tensor(images_of(3))
    for timestep in (999, 666, 333):
        recorder(timestep, images * (1 - timestep / 1000))
    recorder(FINISHED, images)
    recorder.write(tmp_path, [("red cube",), ("gray cube",), ("cyan cube", "blue sphere")])
    with Image.open(tmp_path / "denoising.gif") as gif:
        assert getattr(gif, "n_frames", 1) == 4
    with Image.open(tmp_path / "strip.png") as strip:
        figure = np.asarray(strip)
    assert border_is_white(figure)
    assert bands_of_ink(figure[40:], axis=1).count(32) == 2  # the nearest noise level, and the finished images
    assert bands_of_ink(figure[:, -60:], axis=0).count(32) == 2


def test_charts_are_drawn_for_what_was_recorded() -> None:
    score = {"mean": 0.5, "ci95": [0.4, 0.6]}
    records = [{"step": step, "loss": 1 / step, "learning_rate": 1e-4} for step in range(1, 60)]
    assert set(training_curves(records)) == {"loss", "learning_rate"}
    records.append({"step": 60, "validation": {"micro": score}})
    assert set(training_curves(records)) == {"loss", "learning_rate", "validation"}
    splits: Any = {"test": {"referee": {"by_object": {"red cube": score}}}}
    assert object_chart(splits, "referee").startswith(b"\x89PNG")
