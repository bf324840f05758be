"""The counter finds each object once, also several of a kind."""

from pathlib import Path

import numpy as np
import pytest
import torch

from lab_ddpm.data.iclevr import OBJECTS
from lab_ddpm.data.images import Images, write_png
from lab_ddpm.evaluation.counter import Counter, count_objects, count_scores, load_counter
from lab_ddpm.evaluation.counter_training import train_and_save_counter, train_counter
from lab_ddpm.tools.errors import DataError
from lab_ddpm.tools.files import write_json
from lab_ddpm.tools.weights import save_halved


class Heat(Counter):
    """A counter that sees objects of the first two kinds in given cells (kind, row, column, logit)."""

    def __init__(self, *seen: tuple[int, int, int, float]) -> None:
        super().__init__()
        self.logits = torch.full((1, 1 + len(OBJECTS), 32, 32), -9.0)
        for kind, row, column, logit in seen:
            self.logits[0, [0, 1 + kind], row, column] = logit

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.logits.expand(len(images), -1, -1, -1)


def squares(*places: tuple[int, int, int]) -> Images:
    """A (64, 64, 3) image with a square of 8 x 8 at each (kind, row, column): red for kind 0, green for kind 1."""
    image = np.full((64, 64, 3), 120, dtype=np.uint8)
    for kind, row, column in places:
        image[row : row + 8, column : column + 8] = ((200, 30, 30), (30, 200, 30))[kind]
    return image


def test_each_peak_of_heat_is_one_object() -> None:
    apart, touching, faint = (0, 5, 5, 4.0), (0, 5, 7, 3.0), (1, 20, 20, -1.0)
    shoulder, other = (0, 6, 5, 2.0), (1, 12, 5, 2.0)
    counts = count_objects(Heat(apart, touching, shoulder, faint, other), np.zeros((3, 64, 64, 3), dtype=np.uint8))
    assert counts.tolist() == [[2, 1] + [0] * 22] * 3


def test_right_means_nothing_is_missing_and_nothing_too_many() -> None:
    asked = torch.zeros(2, 24)
    asked[0, 0] = asked[1, :2] = 1
    right, too_many, other = asked.clone(), asked.clone(), asked.clone()
    too_many[0, 0] = 2
    other[1, 1], other[1, 5] = 0, 1
    scores = count_scores(torch.cat([right, too_many, other]).long().numpy(), asked)
    assert scores["right"]["mean"] == pytest.approx(4 / 6)
    assert scores["too_many"]["mean"] == pytest.approx(1 / 6)


def test_it_learns_and_counts_the_same_after_it_was_saved(tmp_path: Path) -> None:
    scenes = [[(0, 8, 8)], [(1, 40, 8)], [(0, 8, 8), (0, 8, 40)], [(0, 40, 40), (1, 8, 8)]] * 2
    images = np.stack([squares(*scene) for scene in scenes])
    kinds = torch.zeros(8, 32, 32, dtype=torch.uint8)
    for index, scene in enumerate(scenes):
        for kind, row, column in scene:
            kinds[index, (row + 4) // 2, (column + 4) // 2] = kind + 1
    counter = train_counter(images, kinds, epochs=60)
    counts = count_objects(counter, images)
    assert counts[:4, :2].tolist() == [[1, 0], [0, 1], [2, 0], [1, 1]]
    assert not counts[:, 2:].any()
    save_halved(counter, tmp_path / "counter.safetensors")
    np.testing.assert_array_equal(count_objects(load_counter(tmp_path / "counter.safetensors"), images), counts)
    with pytest.raises(DataError):
        load_counter(tmp_path / "absent.safetensors")


def test_its_figures_are_written_beside_it(tmp_path: Path) -> None:
    write_png(tmp_path / "images" / "000000.png", squares((0, 8, 8)))
    write_json(tmp_path / "places.json", {"000000.png": [[OBJECTS[0], 12 / 64, 12 / 64]]})
    path = train_and_save_counter(tmp_path, tmp_path, tmp_path / "out", epochs=1)
    assert sorted(file.name for file in path.parent.iterdir()) == ["counter.json", "counter.safetensors"]
