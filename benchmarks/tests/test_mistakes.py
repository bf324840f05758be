"""The measurement of mistakes, with a referee that always sees the same."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from common import image_statistics
from conftest import tiny_denoiser
from lab_ddpm.data.iclevr import OBJECTS
from lab_ddpm.data.image_dataset import ImageDataset
from lab_ddpm.diffusion.pipeline import LabelConditionalPipeline
from mistakes import kind_of, measure, mistaken


class Sees(nn.Module):
    """A classifier that sees the same objects in every image, the first most clearly."""

    def __init__(self, *objects: str) -> None:
        super().__init__()
        self.outputs = nn.Parameter(torch.zeros(len(OBJECTS)))
        for place, name in enumerate(objects):
            self.outputs.data[OBJECTS.index(name)] = 1 - 0.1 * place

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.outputs.expand(len(images), -1)


@pytest.mark.parametrize(
    ("asked", "seen", "kind"),
    [
        ("red cube", "red cylinder", "shape"),
        ("red cube", "blue cube", "colour"),
        ("red cube", "blue cylinder", "other"),
    ],
)
def test_kinds_of_mistakes(asked: str, seen: str, kind: str) -> None:
    assert kind_of(asked, seen) == kind


@pytest.mark.parametrize(
    ("asked", "seen", "pairs"),
    [
        ({"red cube", "cyan sphere"}, ["cyan sphere", "red cube"], set()),
        ({"red cube", "cyan sphere"}, ["cyan sphere", "red cylinder"], {("red cube", "red cylinder")}),
        # pairs that share something, though they are seen in another order
        (
            {"red cube", "cyan sphere"},
            ["cyan cylinder", "blue cube"],
            {("red cube", "blue cube"), ("cyan sphere", "cyan cylinder")},
        ),
    ],
    ids=["nothing", "one", "two"],
)
def test_misses_are_paired_with_what_is_seen_instead(asked: set, seen: list, pairs: set) -> None:
    row = np.array([name in asked for name in OBJECTS])
    outputs = np.array([1 - 0.1 * seen.index(name) if name in seen else 0 for name in OBJECTS])
    assert set(mistaken(outputs, row)) == pairs


@pytest.mark.parametrize("layout_scale", [0.0, 2.0])
def test_mistakes_are_counted_by_kind_and_shown(tmp_path: Path, layout_scale: float) -> None:
    denoiser = tiny_denoiser(labels=OBJECTS, prediction_type="sample", patch_size=4, layout_scale=layout_scale)
    pipeline = LabelConditionalPipeline(denoiser, "ddim", 2)
    lists = {"own": [("red cube",), ("red cylinder", "blue cube"), ("gray sphere", "red cylinder")]}
    referee = Sees("red cylinder", "gray cube")
    images = np.random.default_rng(0).integers(0, 256, (3, 16, 16, 3)).astype(np.uint8)
    masks = np.full((3, 16, 16, 1), OBJECTS.index("red cube") + 1, dtype=np.uint8) if layout_scale else None
    real = ImageDataset(["a", "b", "c"], images, torch.zeros(3, 24), OBJECTS, "squash", "key", masks)
    measure(pipeline, lists, referee, 2, real, tmp_path / "out")
    content = json.loads((tmp_path / "out" / "table.json").read_text())["lists"]
    shares = {row["what"]: (row["share"]["mean"], row["of"]) for row in content["own"]["rows"]}
    assert shares["objects found"] == (2 / 5, 10)
    assert shares["objects of a wrong shape"] == (2 / 5, 10)  # red cube -> red cylinder, gray sphere -> gray cube
    assert shares["objects of a wrong colour"] == (1 / 5, 10)  # blue cube -> gray cube
    assert shares["objects of a wrong shape and colour"] == (0, 10)
    assert ("objects missed that the map shows" in shares) == bool(layout_scale)
    assert shares["images that are right"][0] == 0
    assert content["own"]["seen_as"]["blue cube -> gray cube"] == 2
    assert content["own"]["looks"]["energy at the period of the patches"] > 0
    looks = content["real images"]["looks"]
    assert ("sharpness of cubes" in looks) == bool(layout_scale)
    assert "sharpness of spheres" not in looks  # where no image has one
    if layout_scale:
        assert looks["sharpness of cubes"] == pytest.approx(image_statistics(images)["sharpness"], rel=1e-4)
    assert (tmp_path / "out" / "own.png").is_file()
