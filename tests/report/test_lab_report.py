"""The command `report`: the page, and the lab report of an i-CLEVR run with a random network and random classifiers."""

from pathlib import Path

import pytest
import yaml

from conftest import save_random_classifiers, tiny_denoiser
from lab_ddpm.cli import main
from lab_ddpm.data.iclevr import OBJECTS
from lab_ddpm.diffusion.pipeline import LabelConditionalPipeline
from lab_ddpm.report.lab_report import why_no_lab_report
from lab_ddpm.training.config_parser import parse_config
from lab_ddpm.training.metrics_log import append_record


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny_dataset: Path) -> Path:
    monkeypatch.chdir(tmp_path)
    save_random_classifiers()
    folder = tmp_path / "runs" / "tiny"
    denoiser = tiny_denoiser(labels=OBJECTS, num_train_timesteps=20)
    LabelConditionalPipeline(denoiser, "ddim", 5).save_pretrained(folder / "best")
    arguments = ["--data.root", str(tiny_dataset), "--model.num_train_timesteps", "20"]
    (folder / "config.yaml").write_text(yaml.safe_dump(parse_config(arguments).as_dict()))
    record = {"step": 20, "epoch": 2.0, "seconds": 1200.0, "loss": 0.05, "learning_rate": 1e-3}
    append_record(folder / "metrics.jsonl", record)
    return folder


def test_the_outline_is_filled_in(run: Path) -> None:
    assert main(["report", str(run), "--steps", "2", "--num-seeds", "1"]) == 0
    assert (run / "report.html").is_file()
    text = (run / "lab_report" / "report.md").read_text()
    for words in (
        "squaredcos_cap_v2",
        "are 21 images of",
        "T = 20 timesteps",
        "the noise eps",
        "20.0 min",
        "| ddim | 2 |",
        "| ddpm | 20 |",
    ):
        assert words in text, words
    assert text.count("| test | ") == text.count("| new_test | ") == 2
    html = (run / "lab_report" / "report.html").read_text()
    assert html.count("<table>") == 4
    for image in ("test.png", "new_test.png", "strip.png", "loss.png"):
        assert (run / "lab_report" / image).is_file()
        assert f'src="{image}"' in html


def test_what_a_run_of_layout_and_detail_adds(run: Path) -> None:
    settings = {"prediction_type": "sample", "layout_scale": 2.0, "detail_channels": (8, 16)}
    denoiser = tiny_denoiser(labels=OBJECTS, num_train_timesteps=20, **settings)
    LabelConditionalPipeline(denoiser, "ddim", 2, 2.0, 0.5).save_pretrained(run / "best")
    config = yaml.safe_load((run / "config.yaml").read_text())
    config["init_from"] = "runs/plain/best"
    config["model"] |= {**settings, "detail_channels": [8, 16], "condition_dropout": 0.1}
    config["loss"] |= {"timestep_density": "logit_normal", "weight": "min_snr"}
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    assert main(["report", str(run), "--num-seeds", "1", "--out", "elsewhere"]) == 0
    text = Path("elsewhere/lab_report/report.md").read_text()
    for words in ("8, 16 channels", "| layout |", "logit_normal", "min_snr", "runs/plain/best"):
        assert words in text, words
    assert f"with {sum(weight.numel() for weight in denoiser.parameters()) / 1e6:.1f} M parameters" in text
    assert not (run / "lab_report").exists()


def test_other_runs_and_page_only_have_no_lab_report(run: Path) -> None:
    assert main(["report", str(run), "--page-only"]) == 0
    assert (run / "report.html").is_file()
    config = (run / "config.yaml").read_text()
    for arguments in (["--data.conditional", "false"], ["--data.dataset", "mnist"]):
        (run / "config.yaml").write_text(yaml.safe_dump(parse_config(arguments).as_dict()))
        assert why_no_lab_report(run)
    (run / "config.yaml").write_text(config)
    assert why_no_lab_report(run) is None
    (run / "best").rename(run / "other")
    (run / "report.html").unlink()
    assert main(["report", str(run)]) == 0
    assert (run / "report.html").is_file()
    assert not (run / "lab_report").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "named"),
    [
        (["runs/nowhere"], 1, "runs/nowhere"),
        (["runs/tiny", "--num-seeds", "0"], 2, "num-seeds"),
        (["runs/tiny", "--steps", "0"], 2, "steps"),
        (["runs/tiny", "--page-only", "--runtime", "torch"], 2, "--runtime"),
    ],
)
def test_mistakes_are_one_line_and_write_nothing(
    run: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], code: int, named: str
) -> None:
    assert main(["report", *arguments]) == code
    assert named in capsys.readouterr().err.splitlines()[-1]
    assert not (run / "report.html").exists()
