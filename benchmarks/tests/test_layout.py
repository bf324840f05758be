"""The measurement of layouts, on painted images whose best network is known."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from lab_ddpm.data.image_dataset import ImageDataset
from lab_ddpm.data.images import to_uint8
from lab_ddpm.diffusion.pipeline import LabelConditionalPipeline
from lab_ddpm.tools.errors import UserError
from layout import measure
from painting_oracle import LABELS, PaintingOracle, paint


class Brightness(nn.Module):
    """A classifier that knows how the two labels look."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(100.0))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        dark, bright = (images < -0.6).flatten(1), (images > 0.6).flatten(1)
        return torch.stack([dark.float().mean(dim=1), bright.float().mean(dim=1)], dim=1).mul(self.scale).clamp(max=1)


@pytest.fixture
def dataset() -> ImageDataset:
    """Ten painted images of one or two patches of each label."""
    masks = torch.zeros(10, 1, 8, 8, dtype=torch.long)
    for place in range(10):
        masks[place, 0, 1 + place % 3, 1 + place % 5] = 1 + place % 2
        if place >= 5:
            masks[place, 0, 5 + place % 2, 2 + place % 4] = 2 - place % 2
    rows = torch.stack([(masks == value).flatten(1).any(dim=1) for value in (1, 2)], dim=1).float()
    fine = masks.repeat_interleave(8, dim=2).repeat_interleave(8, dim=3).movedim(1, -1).numpy().astype(np.uint8)
    return ImageDataset([str(n) for n in range(10)], to_uint8(paint(masks)), rows, LABELS, "squash", "", fine)


def test_the_best_network_reads_and_places_all_and_edits_as_asked(dataset: ImageDataset, tmp_path: Path) -> None:
    pipeline = LabelConditionalPipeline(PaintingOracle(), "ddim", 10)
    measure(dataset, pipeline, Brightness(), 10, tmp_path)
    rows = {row["what"]: row for row in json.loads((tmp_path / "table.json").read_text())["rows"]}
    for name in ("labels known", "labels unknown"):
        assert rows[f"reading, {name}: patches read right"]["share"]["mean"] == 1
        assert rows[f"reading, {name}: objects seen"]["share"]["mean"] == 1
        assert rows[f"reading, {name}: objects seen that are there"]["share"]["mean"] == 1
    assert rows["placing: objects in their places"]["share"]["mean"] == 1
    assert rows["placing: objects in their places"]["of"] == int(dataset.class_labels.sum())
    assert rows["reading, labels known: objects seen"]["of"] == rows["placing: objects in their places"]["of"]
    assert rows["editing: removed as asked"]["share"]["mean"] == 1
    assert rows["editing: removed as asked"]["of"] == int((dataset.class_labels.sum(dim=1) > 1).sum())
    assert {path.name for path in tmp_path.iterdir()} == {"table.json", "table.md", "figure.png"}
    with Image.open(tmp_path / "figure.png") as figure:
        assert figure.height > 8 * 64  # images, what was read in them twice, placed, four edits


def test_images_without_masks_are_refused(dataset: ImageDataset, tmp_path: Path) -> None:
    pipeline = LabelConditionalPipeline(PaintingOracle(), "ddim", 2)
    bare = ImageDataset(dataset.names, dataset.images, dataset.class_labels, LABELS, "squash", "")
    with pytest.raises(UserError, match="masks"):
        measure(bare, pipeline, Brightness(), 4, tmp_path)
