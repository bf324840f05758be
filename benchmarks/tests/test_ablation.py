"""A sweep trains each setting once, shares what can be shared, and goes on where it was."""

import json
import os
import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from conftest import TINY_RUN, save_random_classifiers
from lab_ddpm.cli import load, main
from lab_ddpm.data.batches import Sample
from lab_ddpm.data.iclevr import OBJECTS
from lab_ddpm.diffusion.denoiser import Denoiser, Loss
from lab_ddpm.evaluation.classifiers import build_classifier, save_classifier
from lab_ddpm.evaluation.intervals import as_text, mean_interval
from lab_ddpm.studies.ablation import Sweep, read_sweep, run_sweep
from lab_ddpm.tools.errors import UserError
from lab_ddpm.tools.shipped import SHIPPED
from lab_ddpm.training.state import newest_weights

SWEEPS = Path(__file__).parents[2] / "configs" / "ablations"
train = load("train").train


@pytest.fixture
def sweep(tiny_dataset: Path, tmp_path: Path) -> Sweep:
    settings: dict[str, object] = {
        "data": {"root": str(tiny_dataset)},
        "evaluation": {"metric": "none"},
        "optimizer": {"ema_decay": 0.9},
    }
    for key, value in TINY_RUN.items():
        *section, name = key.split(".")
        target = settings.setdefault(section[0], {}) if section else settings
        assert isinstance(target, dict)
        target[name] = list(value) if isinstance(value, tuple) else value
    save_random_classifiers(tmp_path, names=("referee",))
    content = {
        "training": settings,
        "classifier": "referee.safetensors",
        "num_images": 10,
        "seeds": [0, 1],
        "settings": {
            "baseline": {},
            "l1": {"objective.loss": "l1"},
            "no-clip": {"diffusion.clip_sample": False},
            "no-ema": {"optimizer.ema_decay": 0.0},
        },
    }
    (tmp_path / "sweep.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")
    return read_sweep(tmp_path / "sweep.yaml")


def test_a_sweep_writes_a_table_and_a_figure_and_is_not_done_twice(sweep: Sweep, tmp_path: Path) -> None:
    table = run_sweep(sweep, tmp_path / "out", train)
    rows = table.read_text(encoding="utf-8").splitlines()
    changes = ["l1 - baseline", "no-clip - baseline", "no-ema - baseline"]
    assert [row.split("|")[1].strip() for row in rows] == ["setting", "---", *sweep.settings, "real images", *changes]
    assert "labels found" in rows[0]
    measures = json.loads((tmp_path / "out" / "table.json").read_text(encoding="utf-8"))["measures"]
    for sampled_otherwise in ("no-clip", "no-ema"):
        assert measures["brightness"]["baseline"] != measures["brightness"][sampled_otherwise]
    assert len(list((tmp_path / "out" / "runs").iterdir())) == 4  # neither is a matter of training
    assert (tmp_path / "out" / "figure.png").read_bytes().startswith(b"\x89PNG")
    trained = {path: path.stat().st_mtime_ns for path in tmp_path.glob("out/runs/*/states/*")}
    assert run_sweep(sweep, tmp_path / "out", train).read_text(encoding="utf-8").splitlines() == rows
    # other measures of the same trainings
    other = run_sweep(replace(sweep, num_images=8), tmp_path / "out", train).read_text(encoding="utf-8").splitlines()
    assert other[2:] != rows[2:]
    assert {path: path.stat().st_mtime_ns for path in tmp_path.glob("out/runs/*/states/*")} == trained


def test_a_stopped_sweep_says_so_and_goes_on(
    sweep: Sweep, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["ablate", str(tmp_path / "sweep.yaml"), "--out", str(tmp_path / "out")]
    loss = Denoiser.loss

    def stopped(self: Denoiser, batch: Sample) -> Loss:
        os.kill(os.getpid(), signal.SIGTERM)
        return loss(self, batch)

    with monkeypatch.context() as patch:
        patch.setattr(Denoiser, "loss", stopped)
        assert main(command) == 128 + signal.SIGTERM
    assert "stopped by SIGTERM after step" in capsys.readouterr().err
    assert main(command) == 0
    assert "going on from step" in capsys.readouterr().out


@pytest.mark.parametrize(
    "key",
    ["data.image_size", "data.root", "model.conditional", "seed", "epochs", "runs_dir", "evaluation.every_epochs"],
)
def test_settings_of_other_images_or_labels_are_refused(sweep: Sweep, tmp_path: Path, key: str) -> None:
    sweep.settings["other"] = {key: 32}
    with pytest.raises(UserError, match=f"`{key}` must be the same in all settings"):
        run_sweep(sweep, tmp_path / "out", train)
    assert not (tmp_path / "out").exists()


def test_the_table_has_the_changes_from_the_first_setting(sweep: Sweep, tmp_path: Path) -> None:
    del sweep.settings["no-clip"], sweep.settings["no-ema"]
    rows = run_sweep(sweep, tmp_path / "out", train).read_text(encoding="utf-8").splitlines()
    values = json.loads((tmp_path / "out" / "table.json").read_text(encoding="utf-8"))["measures"]["brightness"]
    change = as_text(mean_interval(np.subtract(values["l1"], values["baseline"]).tolist()))
    cells = [cell.strip() for cell in rows[-1].split("|")]
    column = [cell.strip() for cell in rows[0].split("|")].index("brightness")
    assert (cells[1], cells[column]) == ("l1 - baseline", change)


def test_training_never_reads_the_average_of_its_weights(sweep: Sweep, tmp_path: Path) -> None:
    config = sweep.config("no-ema", 0, tmp_path)
    without, averaged = (newest_weights(train(run)) for run in (replace(config, name="without"), sweep.trained(config)))
    assert all(torch.equal(without[key], averaged[key]) for key in without)


def test_a_setting_without_condition_dropout_may_be_sampled_without_guidance(sweep: Sweep, tmp_path: Path) -> None:
    sweep.training["objective"] = {"condition_dropout": 0.1}
    sweep.training["evaluation"] |= {"guidance_scale": 1.5}
    sweep.settings["no-dropout"] = {"objective.condition_dropout": 0.0, "evaluation.guidance_scale": 1.0}
    for name in sweep.settings:
        assert sweep.trained(sweep.config(name, 0, tmp_path)).evaluation.guidance_scale == 1.0


def test_more_images_than_half_of_those_to_compare_with_are_refused(sweep: Sweep, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"`num_images` must be at most half of the 21 images in .*, got 13"):
        run_sweep(replace(sweep, num_images=13), tmp_path / "out", train)
    assert not (tmp_path / "out").exists()


def test_a_classifier_that_is_not_beside_the_sweep_is_found_as_all_others_are(
    sweep: Sweep, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert sweep.classifier == tmp_path / "referee.safetensors"
    monkeypatch.chdir(tmp_path)
    content = (tmp_path / "sweep.yaml").read_text().replace("referee.saf", "evaluator/referee.saf")
    (tmp_path / "sweep.yaml").write_text(content)
    assert read_sweep(tmp_path / "sweep.yaml").classifier == SHIPPED / "evaluator/referee.safetensors"
    save_random_classifiers(tmp_path / "evaluator", names=("referee",))
    assert read_sweep(tmp_path / "sweep.yaml").classifier.resolve() == tmp_path / "evaluator/referee.safetensors"


def test_without_its_classifier_nothing_is_trained(sweep: Sweep, tmp_path: Path) -> None:
    sweep.classifier.unlink()
    with pytest.raises(UserError, match="no such classifier"):
        run_sweep(sweep, tmp_path / "out", train)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("name", "channels", "message"), [("resnet18", 3, "got a resnet18"), ("referee", 1, "grey")])
def test_a_classifier_of_another_kind_is_refused_before_anything_is_trained(
    sweep: Sweep, tmp_path: Path, name: str, channels: int, message: str
) -> None:
    file = save_classifier(build_classifier(name, len(OBJECTS), channels), name, tmp_path / "other", OBJECTS)
    with pytest.raises(UserError, match=message):
        run_sweep(replace(sweep, classifier=file), tmp_path / "out", train)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("path", sorted(SWEEPS.glob("*.yaml")), ids=lambda path: path.stem)
def test_the_sweeps_of_the_project_name_settings_that_exist(path: Path, tmp_path: Path) -> None:
    sweep = read_sweep(path)
    configs = [sweep.config(name, seed, tmp_path) for name in sweep.settings for seed in sweep.seeds]
    sampled = {(config.name, config.diffusion.clip_sample, config.optimizer.ema_decay) for config in configs}
    assert len(sampled) == len(configs)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[", "no valid YAML"),
        ("- 1", "must be a mapping"),
        ("training: {}", r"a sweep must have the keys \['classifier', .*\], got \['training'\]"),
        ("{training: 3, classifier: b, num_images: 1, seeds: [0], settings: {}}", "`training` must be a mapping"),
        ("{training: {}, classifier: b, num_images: 9, seeds: [0], settings: {x: 3}}", "`settings` must map names"),
        (
            "{training: {}, classifier: b, num_images: 9, seeds: [0], settings: {}}",
            "`settings` must have at least",
        ),
        ("{training: {}, classifier: b, num_images: 9, seeds: 3, settings: {x: {}}}", "`seeds` must be a list"),
        ("{training: {}, classifier: b, num_images: 3, seeds: [0], settings: {x: {}}}", "`num_images` must be"),
        ("{training: {}, classifier: 1, num_images: 9, seeds: [0], settings: {x: {}}}", "`classifier` must be"),
    ],
)
def test_a_broken_sweep_is_refused(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "sweep.yaml").write_text(content, encoding="utf-8")
    with pytest.raises(UserError, match=message):
        read_sweep(tmp_path / "sweep.yaml")


def test_an_unknown_setting_is_refused_before_anything_is_trained(sweep: Sweep, tmp_path: Path) -> None:
    sweep.settings["typo"] = {"objective.los": "l1"}
    with pytest.raises(UserError, match=r"objective\.los"):
        run_sweep(sweep, tmp_path / "out", train)
    assert not (tmp_path / "out").exists()
