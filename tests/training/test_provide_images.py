"""Before a training: the masks that a model needs are looked for in the images, where there are none."""

import shutil
from pathlib import Path

import pytest

from conftest import tiny_config
from lab_ddpm.tools.errors import UserError
from lab_ddpm.training.provide_images import provide_images


def test_masks_are_made_for_a_model_with_a_layout_alone(
    tiny_dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.rmtree(tiny_dataset / "masks")
    provide_images(tiny_config(tmp_path))
    assert not (tiny_dataset / "masks").exists()
    provide_images(tiny_config(tmp_path, model__layout_scale=2.0, diffusion__prediction_type="sample"))
    names = {path.name for path in (tiny_dataset / "images").iterdir()}
    assert {path.name for path in (tiny_dataset / "masks").iterdir()} == names
    assert f"wrote 21 masks to {tiny_dataset / 'masks'}/" in capsys.readouterr().out
    before = {path: path.stat().st_mtime_ns for path in (tiny_dataset / "masks").iterdir()}
    provide_images(tiny_config(tmp_path, model__layout_scale=2.0, diffusion__prediction_type="sample"))
    assert {path: path.stat().st_mtime_ns for path in (tiny_dataset / "masks").iterdir()} == before


def test_several_processes_do_not_make_them(
    tiny_dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.rmtree(tiny_dataset / "masks")
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(UserError, match=r"lacks masks: run scripts/find_masks.py before"):
        provide_images(tiny_config(tmp_path, model__layout_scale=2.0, diffusion__prediction_type="sample"))


def test_a_replica_is_completed_by_its_renderer(tiny_dataset: Path, tmp_path: Path) -> None:
    (tiny_dataset / "replica.json").write_text(
        '{"recipe": 1, "seed": 0, "num_scenes": 7, "forbidden": []}', encoding="utf-8"
    )
    next((tiny_dataset / "masks").iterdir()).unlink()
    with pytest.raises(UserError, match=r"lacks masks: `python scripts/render.py` with the arguments"):
        provide_images(tiny_config(tmp_path, model__layout_scale=2.0, diffusion__prediction_type="sample"))


def test_official_masks_are_completed(tiny_dataset: Path, tmp_path: Path) -> None:
    next((tiny_dataset / "masks").iterdir()).unlink()
    provide_images(tiny_config(tmp_path, model__layout_scale=2.0, diffusion__prediction_type="sample"))
    assert len(list((tiny_dataset / "masks").iterdir())) == 21
