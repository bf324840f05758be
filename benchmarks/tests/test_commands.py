"""The benchmarks from their arguments to what they print, with a random model of 16 x 16 images."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

import pytest
import yaml

import speed
from conftest import save_random_classifiers, tiny_config, tiny_denoiser
from lab_ddpm.cli import run
from lab_ddpm.data.iclevr import OBJECTS
from lab_ddpm.diffusion.pipeline import LabelConditionalPipeline


@pytest.fixture
def workplace(tiny_dataset: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where `tiny_dataset` is `data`: a random pipeline with a layout in runs/, and random classifiers."""
    monkeypatch.chdir(tiny_dataset.parent)
    settings = {
        "patch_size": 4,
        "layout_scale": 2.0,
        "layout_dropout": 0.1,
        "places_dropout": 0.1,
        "prediction_type": "sample",
    }
    pipeline = LabelConditionalPipeline(tiny_denoiser(labels=OBJECTS, **settings), "ddim", 2, 2.0)
    pipeline.save_pretrained("runs/tiny/best")
    save_random_classifiers()
    return tiny_dataset.parent


@pytest.mark.usefixtures("workplace")
@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("denoising", "--root data --num-images 4"),
        ("mistakes", "--root data --num-seeds 1 --split val --real data"),
        ("layout", "--root data --num-images 4"),
    ],
)
def test_a_measurement_writes_its_table_and_prints_it(
    name: str, arguments: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(import_module(name).main, arguments.split()) == 0
    assert (Path(name) / "table.md").read_text(encoding="utf-8") in capsys.readouterr().out
    assert any(path.suffix == ".png" for path in Path(name).iterdir())


@pytest.mark.usefixtures("workplace")
def test_the_classifiers_are_measured_as_they_are_and_perturbed(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(import_module("check_classifier").main, ["--root", "data"]) == 0
    rows = capsys.readouterr().out.splitlines()
    assert len(rows) == 1 + 2 + 1 + len(import_module("check_classifier").STRENGTHS)


def test_the_speed_of_all_parts_of_a_run_is_measured(
    workplace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(speed, "SCENES", 2)
    monkeypatch.setattr(speed, "SECONDS", 0.1)
    Path("tiny.yaml").write_text(yaml.safe_dump(tiny_config(workplace).as_dict()), encoding="utf-8")
    assert run(speed.main, ["--configs", "tiny.yaml", "--checkpoint", "runs/tiny/best", "--steps", "1"]) == 0
    printed = capsys.readouterr().out
    for line in ("render: ", "reading: ", "train tiny: ", "sample: ddpm-1000 "):
        assert f"\n{line}" in printed
