"""The lab report of a run, with a random network and random classifiers: what it measures is what is in it."""

from pathlib import Path

import pytest
import yaml

from conftest import save_random_classifiers, tiny_denoiser
from lab_ddpm.cli import main
from lab_ddpm.data.iclevr import OBJECTS
from lab_ddpm.diffusion.pipeline import LabelConditionalPipeline
from lab_ddpm.tools.metrics_log import append_record
from lab_ddpm.training.config import TrainConfig


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny_dataset: Path) -> Path:
    monkeypatch.chdir(tmp_path)
    save_random_classifiers()
    denoiser = tiny_denoiser(labels=OBJECTS, num_train_timesteps=20)
    folder = tmp_path / "runs" / "tiny"
    LabelConditionalPipeline(denoiser, "ddim").save_pretrained(folder / "best")
    settings = TrainConfig(name="tiny", batch_size=4).as_dict()
    settings["data"]["root"] = str(tiny_dataset)
    settings["diffusion"]["num_train_timesteps"] = 20
    settings["evaluation"]["steps"] = 5
    (folder / "config.yaml").write_text(yaml.safe_dump(settings))
    for step in (10, 20):
        place = {"step": step, "epoch": step / 10, "seconds": 60.0 * step}
        append_record(folder / "metrics.jsonl", {**place, "loss": 1 / step, "learning_rate": 1e-3})
    return folder


def test_the_outline_is_filled_in(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["lab-report", str(run), "--steps", "2", "--num-seeds", "2"]) == 0
    out = run / "lab_report"
    text = (out / "report.md").read_text()
    for words in (
        "squaredcos_cap_v2",
        "T = 20 timesteps",
        "the noise eps",
        "| learning rate | 0.001, 500 steps of warm-up, then cosine decay to zero |",
        "20.0 minutes, evaluations included",
        "ddim with 2 steps",
        "| ddpm | 20 |",
    ):
        assert words in text, words
    assert text.count("| test | ") == text.count("| new_test | ") == 2
    page = (out / "report.html").read_text()
    assert page.count("<table>") == 4
    for image in ("test.png", "new_test.png", "strip.png", "loss.png"):
        assert (out / image).is_file()
        assert f'src="{image}"' in page


def test_a_run_of_detail_says_so(run: Path) -> None:
    settings = {"prediction_type": "sample", "num_train_timesteps": 20}
    plain, detailed = (tiny_denoiser(labels=OBJECTS, detail_channels=levels, **settings) for levels in ((), (8, 16)))
    LabelConditionalPipeline(detailed, "ddim").save_pretrained(run / "best")
    config = yaml.safe_load((run / "config.yaml").read_text())
    config |= {"init_from": "runs/plain/best", "objective": {**config["objective"], "detail_only": True}}
    config["model"]["detail_channels"] = [8, 16]
    config["diffusion"]["prediction_type"] = "sample"
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    assert main(["lab-report", str(run), "--steps", "2", "--num-seeds", "2"]) == 0
    text = (run / "lab_report" / "report.md").read_text()
    for words in (
        "| detail | at the less noisy 0.6 of the timesteps, by convolutions over single pixels of 8, 16 channels |",
        "In this run the detail alone learns.",
        "| begins with the weights of | runs/plain/best |",
    ):
        assert words in text, words
    counts = [sum(weight.numel() for weight in model.parameters()) for model in (plain, detailed)]
    assert counts[0] < counts[1]
    assert f"with {counts[1] / 1e6:.1f} M parameters in all" in text


def test_a_run_without_labels_is_refused_as_such(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    LabelConditionalPipeline(tiny_denoiser(), "ddim").save_pretrained(run / "best")
    assert main(["lab-report", str(run)]) == 2
    assert "is unconditional" in capsys.readouterr().err


def test_mistakes_are_one_line(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["lab-report", str(tmp_path / "nowhere")]) == 1
    assert main(["lab-report", str(run), "--num-seeds", "0"]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2
    assert "no such run folder" in lines[0]
