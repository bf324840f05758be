"""The commands that measure, from their arguments to what they print, with a random model of 16 x 16 images."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from conftest import save_random_classifiers, tiny_config, tiny_denoiser
from lab_ddpm.cli import main
from lab_ddpm.data.iclevr import OBJECTS
from lab_ddpm.diffusion.pipeline import LabelConditionalPipeline
from lab_ddpm.studies import benchmark


@pytest.fixture
def workplace(tiny_dataset: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where `tiny_dataset` is `data`: a random pipeline with a layout in runs/, and random classifiers."""
    monkeypatch.chdir(tiny_dataset.parent)
    settings = {"patch_size": 4, "layout_scale": 2.0, "layout_dropout": 0.1, "prediction_type": "sample"}
    pipeline = LabelConditionalPipeline(tiny_denoiser(labels=OBJECTS, **settings), "ddim", 2.0, num_inference_steps=2)
    pipeline.save_pretrained("runs/tiny/best")
    save_random_classifiers()
    return tiny_dataset.parent


@pytest.mark.usefixtures("workplace")
@pytest.mark.parametrize(
    ("command", "row"),
    [
        ("study-denoising --root data --num-images 4", "| 30 |"),
        ("study-mistakes --root data --num-seeds 1 --split val --real data", "too many"),
        ("study-layout --root data --num-images 4", "| placing: objects found |"),
    ],
)
def test_a_study_writes_its_table_and_prints_it(command: str, row: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(command.split()) == 0
    printed = capsys.readouterr().out
    out = Path(command.split()[0].removeprefix("study-"))
    assert row in printed
    assert (out / "table.md").read_text(encoding="utf-8") in printed
    assert any(path.suffix == ".png" for path in out.iterdir())


def test_the_benchmark_times_all_that_a_run_is_made_of(
    workplace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(benchmark, "_SCENES", 2)
    monkeypatch.setattr(benchmark, "_SECONDS", 0.1)
    Path("tiny.yaml").write_text(yaml.safe_dump(tiny_config(workplace).as_dict()), encoding="utf-8")
    assert main(["benchmark", "--configs", "tiny.yaml", "--checkpoint", "runs/tiny/best", "--steps", "1"]) == 0
    printed = capsys.readouterr().out
    for line in ("render: ", "reading: ", "train tiny: ", "sample: ddpm-1000 "):
        assert f"\n{line}" in printed
