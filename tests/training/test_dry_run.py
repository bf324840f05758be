"""A dry run says what it found and what a training needs, and writes nothing."""

from pathlib import Path
from typing import Any

import pytest

from conftest import tiny_arguments, tiny_config
from lab_ddpm.cli import main
from lab_ddpm.tools.errors import UserError
from lab_ddpm.training.dry_run import dry_run


def test_what_is_found_and_what_is_needed(tiny_dataset: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", *tiny_arguments(tiny_dataset.parent), "--dry_run"]) == 0
    printed = capsys.readouterr().out
    for part in ("images: 21; width x height 32 x 24", "steps: 6", "for 4 images at a time", "median of 20"):
        assert part in printed
    assert not (tiny_dataset.parent / "runs").exists()


def test_it_needs_no_images_of_iclevr(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = {"model__layout_scale": 2.0, "model__prediction_type": "sample", "gradient_accumulation_steps": "auto"}
    dry_run(tiny_config(tmp_path, data__num_scenes=7, **settings))
    printed = capsys.readouterr().out
    for part in ("a replica of 7 scenes", "steps: 6", "for 4 images at a time"):
        assert part in printed
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"batch_size": 22}, "batch_size"),
        ({"init_from": "absent"}, "init_from"),
        ({"evaluation__split": "absent.json"}, "absent.json"),
    ],
    ids=str,
)
def test_what_a_training_would_refuse_is_refused(tiny_dataset: Path, settings: dict[str, Any], named: str) -> None:
    with pytest.raises(UserError, match=named):
        dry_run(tiny_config(tiny_dataset.parent, **settings))
