"""Before a training: missing masks are found in the images, if a model needs them."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from conftest import tiny_config
from lab_ddpm.tools.errors import UserError
from lab_ddpm.training.provide_images import provide_images

WITH_LAYOUT: dict[str, Any] = {"model__layout_scale": 2.0, "model__prediction_type": "sample"}


def test_masks_are_made_and_completed_for_a_model_with_a_layout_only(tiny_dataset: Path, tmp_path: Path) -> None:
    masks = tiny_dataset / "masks"
    shutil.rmtree(masks)
    provide_images(tiny_config(tmp_path))
    assert not masks.exists()
    provide_images(tiny_config(tmp_path, **WITH_LAYOUT))
    names = {path.name for path in (tiny_dataset / "images").iterdir()}
    assert {path.name for path in masks.iterdir()} == names
    before = {path: path.stat().st_mtime_ns for path in masks.iterdir()}
    provide_images(tiny_config(tmp_path, **WITH_LAYOUT))
    assert {path: path.stat().st_mtime_ns for path in masks.iterdir()} == before
    next(masks.iterdir()).unlink()
    provide_images(tiny_config(tmp_path, **WITH_LAYOUT))
    assert {path.name for path in masks.iterdir()} == names


def test_several_processes_do_not_make_them(
    tiny_dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.rmtree(tiny_dataset / "masks")
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(UserError, match="masks"):
        provide_images(tiny_config(tmp_path, **WITH_LAYOUT))
    assert not (tiny_dataset / "masks").exists()


def test_those_of_a_replica_are_rendered(tiny_dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    identity = '{"recipe": 1, "seed": 0, "num_scenes": 7, "forbidden": []}'
    (tiny_dataset / "replica.json").write_text(identity, encoding="utf-8")
    next((tiny_dataset / "masks").iterdir()).unlink()
    with pytest.raises(UserError, match=r"scripts/render\.py"):
        provide_images(tiny_config(tmp_path, **WITH_LAYOUT))
    (tiny_dataset / "train.json").unlink()  # as if the rendering was interrupted
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(UserError, match=r"unfinished.*scripts/render\.py"):
        provide_images(tiny_config(tmp_path))
