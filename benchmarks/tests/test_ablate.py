"""A sweep trains each setting once, shares what can be shared, and continues where it was interrupted."""

from __future__ import annotations

import json
import os
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

import ablate
from ablate import run_sweep
from common import own_weights
from conftest import TINY_RUN, save_random_classifiers
from lab_ddpm.cli import run
from lab_ddpm.diffusion.loss import DenoisingLoss
from lab_ddpm.evaluation.intervals import as_text, mean_interval
from lab_ddpm.tools.errors import UserError
from sweep import Sweep, read_sweep

SWEEPS = Path(ablate.__file__).parent / "configs"


@pytest.fixture
def sweep(tiny_dataset: Path, tmp_path: Path) -> Sweep:
    settings: dict[str, Any] = {
        "data": {"root": str(tiny_dataset)},
        "evaluation": {"metric": "none"},
        "optimizer": {"ema_decay": 0.9},
    }
    for key, value in TINY_RUN.items():
        *section, name = key.split(".")
        target = settings.setdefault(section[0], {}) if section else settings
        target[name] = list(value) if isinstance(value, tuple) else value
    save_random_classifiers(tmp_path, names=("referee",))
    content = {
        "training": settings,
        "classifier": "referee.safetensors",
        "num_images": 10,
        "seeds": [0, 1],
        "settings": {
            "baseline": {},
            "l1": {"loss.name": "l1"},
            "no-clip": {"model.clip_sample": False},
            "no-ema": {"optimizer.ema_decay": 0.0},
        },
    }
    (tmp_path / "sweep.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")
    return read_sweep(tmp_path / "sweep.yaml")


def test_a_sweep_writes_its_table_and_is_not_done_twice(sweep: Sweep, tmp_path: Path) -> None:
    out = tmp_path / "out"
    rows = run_sweep(sweep, out).read_text(encoding="utf-8").splitlines()
    cells = [[cell.strip() for cell in row.split("|")[1:-1]] for row in rows]
    changes = ["l1 - baseline", "no-clip - baseline", "no-ema - baseline"]
    assert [row[0] for row in cells] == ["setting", "---", *sweep.settings, "real images", *changes]
    measures = json.loads((out / "table.json").read_text(encoding="utf-8"))["measures"]
    assert "labels_found" in measures
    brightness = measures["brightness"]
    assert len({tuple(values) for values in brightness.values()}) == 4
    change = as_text(mean_interval(np.subtract(brightness["l1"], brightness["baseline"]).tolist()))
    assert cells[-3][cells[0].index("brightness")] == change
    trained = {path: path.stat().st_mtime_ns for path in out.glob("runs/*/states/*")}
    assert len(list((out / "runs").iterdir())) == 4  # clipping and the average are no matter to training
    assert run_sweep(sweep, out).read_text(encoding="utf-8").splitlines() == rows
    assert run_sweep(replace(sweep, num_images=8), out).read_text(encoding="utf-8").splitlines() != rows
    assert {path: path.stat().st_mtime_ns for path in out.glob("runs/*/states/*")} == trained


def test_a_stopped_sweep_continues(sweep: Sweep, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "out"
    command = [str(tmp_path / "sweep.yaml"), "--out", str(out)]
    loss = DenoisingLoss.__call__

    def stopped(self: DenoisingLoss, *arguments: Any) -> Any:
        os.kill(os.getpid(), signal.SIGTERM)
        return loss(self, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(DenoisingLoss, "__call__", stopped)
        assert run(ablate.main, command) == 128 + signal.SIGTERM
    assert not (out / "sweep" / "table.md").exists()
    assert run(ablate.main, command) == 0
    assert (out / "sweep" / "table.md").is_file()
    assert {path.name for path in out.glob("*.png")} == {"l1.png", "no-clip.png", "no-ema.png"}


def test_training_never_reads_the_average_of_its_weights(sweep: Sweep, tmp_path: Path) -> None:
    runs = (sweep.sampled("no-ema", 0, tmp_path), sweep.trained("no-ema", 0, tmp_path))
    without, averaged = (own_weights(ablate.train(config)) for config in runs)
    assert all(torch.equal(without[key], averaged[key]) for key in without)


def test_a_setting_without_condition_dropout_may_be_sampled_without_guidance(sweep: Sweep, tmp_path: Path) -> None:
    sweep.training["model"] |= {"condition_dropout": 0.1}
    sweep.training["sampling"] |= {"guidance_scale": 1.5}
    sweep.settings["no-dropout"] = {"model.condition_dropout": 0.0, "sampling.guidance_scale": 1.0}
    for name in sweep.settings:
        sweep.sampled(name, 0, tmp_path)
        assert sweep.trained(name, 0, tmp_path).sampling["guidance_scale"] == 1.0


@pytest.mark.parametrize("key", ["data.image_size", "seed", "epochs", "loss.nam"])
def test_a_key_that_no_setting_may_change_is_refused_before_training(sweep: Sweep, tmp_path: Path, key: str) -> None:
    sweep.settings["other"] = {key: 32}
    with pytest.raises(UserError, match=key):
        run_sweep(sweep, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_too_many_images_and_a_missing_classifier_are_refused_before_training(sweep: Sweep, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="num_images"):
        run_sweep(replace(sweep, num_images=13), tmp_path / "out")
    sweep.classifier.unlink()
    with pytest.raises(UserError, match=r"referee\.safetensors"):
        run_sweep(sweep, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("path", [SWEEPS / "cifar10.yaml", SWEEPS / "fashion_mnist.yaml"], ids=lambda path: path.stem)
def test_the_sweeps_of_the_project_name_settings_that_exist(path: Path, tmp_path: Path) -> None:
    sweep = read_sweep(path)
    assert {sweep.sampled(name, 0, tmp_path).seed for name in sweep.settings} == {0}


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("training", 3),
        *[("settings", value) for value in ({}, {16: {}}, {"../l1": {}}, {"l1": {1: "l1"}})],
        ("seeds", [-1]),
        ("num_images", 3),
        ("classifier", 1),
    ],
)
def test_a_broken_sweep_is_refused(sweep: Sweep, tmp_path: Path, key: str, value: object) -> None:
    path = tmp_path / "sweep.yaml"
    path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | {key: value}), encoding="utf-8")
    with pytest.raises(UserError, match=key):
        read_sweep(path)
