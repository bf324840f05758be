"""The masks of official images: found in the differences of images whose true masks are known."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lab_ddpm.data.iclevr import OBJECTS
from lab_ddpm.data.images import read_mask
from lab_ddpm.data.labelled_images import open_labelled_images
from lab_ddpm.iclevr.official.masks import write_masks
from lab_ddpm.iclevr.replica.replica import render_replica
from lab_ddpm.tools.errors import DataError


def test_they_are_those_of_the_renderer_except_for_their_edges(tmp_path: Path) -> None:
    pytest.importorskip("mitsuba")
    render_replica(tmp_path, 2, seed=3, workers=2)
    (tmp_path / "masks").rename(tmp_path / "exact")
    assert write_masks(tmp_path) == 6
    overlaps = []
    for path in sorted((tmp_path / "exact").iterdir()):
        exact, found = (read_mask(tmp_path / part / path.name, (128, 128)) for part in ("exact", "masks"))
        for place in np.unique(exact[exact > 0]):
            overlaps.append(((found == place) & (exact == place)).sum() / ((found == place) | (exact == place)).sum())
    assert len(overlaps) == 12
    assert np.mean(overlaps) > 0.9
    assert open_labelled_images(tmp_path, 16, OBJECTS, with_masks=True).masks is not None


def test_existing_masks_are_kept(tiny_dataset: Path) -> None:
    by_hand, missing = sorted((tiny_dataset / "masks").iterdir())[:2]
    Image.new("L", (112, 84), 3).save(by_hand)
    content = by_hand.read_bytes()
    missing.unlink()
    assert write_masks(tiny_dataset) == 1
    assert missing.is_file()
    assert by_hand.read_bytes() == content
    assert write_masks(tiny_dataset) == 0


def test_images_without_colours_are_refused(tiny_dataset: Path) -> None:
    shutil.rmtree(tiny_dataset / "masks")
    for path in (tiny_dataset / "images").iterdir():
        Image.new("L", (112, 84), 128).save(path)
    with pytest.raises(DataError, match="the newest object was not found"):
        write_masks(tiny_dataset)


def test_names_with_folders_are_refused(tiny_dataset: Path) -> None:
    labels = json.loads((tiny_dataset / "train.json").read_text(encoding="utf-8"))
    (tiny_dataset / "train.json").write_text(json.dumps({"../x_0.png": ["red cube"], **labels}), encoding="utf-8")
    with pytest.raises(DataError, match=r"\.\./x_0\.png"):
        write_masks(tiny_dataset)


def test_images_that_are_not_steps_of_a_scene_are_named(tiny_dataset: Path) -> None:
    shutil.rmtree(tiny_dataset / "masks")
    labels = json.loads((tiny_dataset / "train.json").read_text(encoding="utf-8"))
    labels["CLEVR_train_000003_1.png"] = ["cyan cube", "red cube"]
    (tiny_dataset / "train.json").write_text(json.dumps(labels), encoding="utf-8")
    with pytest.raises(DataError, match=r"CLEVR_train_000003_1\.png"):
        write_masks(tiny_dataset)
    assert not (tiny_dataset / "masks").exists()
