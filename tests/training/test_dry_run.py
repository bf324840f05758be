"""A dry run says what it found and what a training needs, and writes nothing."""

from pathlib import Path

import pytest

from conftest import tiny_arguments, tiny_config
from lab_ddpm.cli import main
from lab_ddpm.tools.errors import UserError
from lab_ddpm.training.dry_run import dry_run


def test_what_is_found_and_what_is_needed(tiny_dataset: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", *tiny_arguments(tiny_dataset.parent), "--dry_run"]) == 0
    printed = capsys.readouterr().out
    for part in ("images: 21; width x height 32 x 24", "6 steps in 1 epochs", "for 4 images at a time", "median of 20"):
        assert part in printed
    assert not (tiny_dataset.parent / "runs").exists()


def test_it_needs_no_images_of_iclevr(tmp_path: Path) -> None:
    settings = {"model__layout_scale": 2.0, "model__prediction_type": "sample", "gradient_accumulation_steps": "auto"}
    said = dry_run(tiny_config(tmp_path, data__num_scenes=7, **settings))
    assert "a replica of 7 scenes" in said
    assert "6 steps in 1 epochs" in said
    assert "for 4 images at a time" in said
    assert not any(tmp_path.iterdir())


def test_a_batch_of_more_images_than_there_are_is_refused(tiny_dataset: Path) -> None:
    with pytest.raises(UserError, match="batch_size"):
        dry_run(tiny_config(tiny_dataset.parent, batch_size=22))
