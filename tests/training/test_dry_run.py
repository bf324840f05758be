"""A dry run says what it found and what a training needs, and writes nothing."""

from pathlib import Path
from typing import Any

import pytest

from conftest import tiny_arguments, tiny_config
from lab_ddpm.cli import main
from lab_ddpm.tools import extras
from lab_ddpm.tools.errors import UserError
from lab_ddpm.tools.files import write_json
from lab_ddpm.training.dry_run import dry_run
from lab_ddpm.training.loop import train

WITH_LAYOUT: dict[str, Any] = {"model__layout_scale": 2.0, "model__prediction_type": "sample"}


def test_what_is_found_and_what_is_needed(tiny_dataset: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", *tiny_arguments(tiny_dataset.parent), "--dry_run"]) == 0
    printed = capsys.readouterr().out
    for part in ("images: 21; width x height 32 x 24", "steps: 6", "for 4 images at a time", "median of 20"):
        assert part in printed
    assert not (tiny_dataset.parent / "runs").exists()


def test_it_needs_no_images_of_iclevr(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("mitsuba")
    dry_run(tiny_config(tmp_path, data__num_scenes=7, gradient_accumulation_steps="auto", **WITH_LAYOUT))
    printed = capsys.readouterr().out
    for part in ("a replica of 7 scenes", "steps: 6", "for 4 images at a time"):
        assert part in printed
    assert not any(tmp_path.iterdir())
    with pytest.raises(UserError, match=r"absent\.json"):
        dry_run(tiny_config(tmp_path, evaluation__split="absent.json"))
    monkeypatch.setattr(extras, "find_spec", lambda _: None)
    with pytest.raises(UserError, match="mitsuba"):
        dry_run(tiny_config(tmp_path))


def test_masks_that_a_training_completes_may_be_missing(tiny_dataset: Path, capsys: pytest.CaptureFixture[str]) -> None:
    next((tiny_dataset / "masks").iterdir()).unlink()
    config = tiny_config(tiny_dataset.parent, **WITH_LAYOUT)
    dry_run(config)
    assert "lacks masks" in capsys.readouterr().out
    assert len([*(tiny_dataset / "masks").iterdir()]) == 20
    write_json(tiny_dataset / "replica.json", {"num_scenes": 7})  # those of a replica are rendered
    with pytest.raises(UserError, match=r"scripts/render\.py"):
        dry_run(config)


def test_other_settings_than_those_of_a_begun_run_are_refused(tiny_dataset: Path) -> None:
    train(tiny_config(tiny_dataset.parent))
    with pytest.raises(UserError, match=r"loss\.name"):
        dry_run(tiny_config(tiny_dataset.parent, loss__name="l1"))


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
