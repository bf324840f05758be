"""A sweep trains each setting once, shares what can be shared, and goes on where it was."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from conftest import TINY_RUN
from lab_ddpm.classifiers.networks import build_classifier, save_classifier
from lab_ddpm.errors import UserError
from lab_ddpm.studies.ablation import Sweep, read_sweep, run_sweep

SWEEPS = Path(__file__).parents[2] / "configs" / "ablations"


@pytest.fixture
def sweep(tiny_dataset: Path, tmp_path: Path) -> Sweep:
    settings: dict[str, object] = {"data": {"root": str(tiny_dataset)}, "evaluation": {"metric": "none"}}
    for key, value in TINY_RUN.items():
        *section, name = key.split(".")
        target = settings.setdefault(section[0], {}) if section else settings
        assert isinstance(target, dict)
        target[name] = list(value) if isinstance(value, tuple) else value
    save_classifier(build_classifier("referee"), "referee", tmp_path)
    content = {
        "training": settings,
        "classifier": "referee.safetensors",
        "num_pictures": 10,
        "seeds": [0, 1],
        "settings": {"baseline": {}, "l1": {"objective.loss": "l1"}, "no-clip": {"diffusion.clip_sample": False}},
    }
    (tmp_path / "sweep.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")
    return read_sweep(tmp_path / "sweep.yaml")


def test_a_sweep_writes_a_table_and_a_figure_and_is_not_done_twice(sweep: Sweep, tmp_path: Path) -> None:
    table = run_sweep(sweep, tmp_path / "out")
    rows = table.read_text(encoding="utf-8").splitlines()
    assert [row.split("|")[1].strip() for row in rows] == ["setting", "---", *sweep.settings, "real pictures"]
    assert "labels found" in rows[0]
    measures = json.loads((tmp_path / "out" / "table.json").read_text(encoding="utf-8"))["measures"]
    assert measures["brightness"]["baseline"] != measures["brightness"]["no-clip"]
    assert len(list((tmp_path / "out" / "runs").iterdir())) == 4  # clipping is no matter of training
    assert (tmp_path / "out" / "figure.png").read_bytes().startswith(b"\x89PNG")
    trained = {path: path.stat().st_mtime_ns for path in tmp_path.glob("out/runs/*/checkpoints/*")}
    assert run_sweep(sweep, tmp_path / "out").read_text(encoding="utf-8").splitlines() == rows
    # other measures of the same trainings
    other = run_sweep(replace(sweep, num_pictures=8), tmp_path / "out").read_text(encoding="utf-8").splitlines()
    assert other[2:] != rows[2:]
    assert {path: path.stat().st_mtime_ns for path in tmp_path.glob("out/runs/*/checkpoints/*")} == trained


def test_without_its_classifier_nothing_is_trained(sweep: Sweep, tmp_path: Path) -> None:
    sweep.classifier.unlink()
    with pytest.raises(UserError, match="no such classifier"):
        run_sweep(sweep, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("path", sorted(SWEEPS.glob("*.yaml")), ids=lambda path: path.stem)
def test_the_sweeps_of_the_project_name_settings_that_exist(path: Path, tmp_path: Path) -> None:
    sweep = read_sweep(path)
    configs = [sweep.config(name, seed, tmp_path) for name in sweep.settings for seed in sweep.seeds]
    assert len({(config.name, config.diffusion.clip_sample) for config in configs}) == len(configs)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[", "no valid YAML"),
        ("- 1", "must be a mapping"),
        ("training: {}", r"a sweep must have the keys \['classifier', .*\], got \['training'\]"),
        ("{training: 3, classifier: b, num_pictures: 1, seeds: [0], settings: {}}", "`training` must be a mapping"),
        ("{training: {}, classifier: b, num_pictures: 9, seeds: [0], settings: {x: 3}}", "`settings` must map names"),
        (
            "{training: {}, classifier: b, num_pictures: 9, seeds: [0], settings: {}}",
            "`settings` must have at least",
        ),
        ("{training: {}, classifier: b, num_pictures: 9, seeds: 3, settings: {x: {}}}", "`seeds` must be a list"),
        ("{training: {}, classifier: b, num_pictures: 3, seeds: [0], settings: {x: {}}}", "`num_pictures` must be"),
        ("{training: {}, classifier: 1, num_pictures: 9, seeds: [0], settings: {x: {}}}", "`classifier` must be"),
    ],
)
def test_a_broken_sweep_is_refused(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "sweep.yaml").write_text(content, encoding="utf-8")
    with pytest.raises(UserError, match=message):
        read_sweep(tmp_path / "sweep.yaml")


def test_an_unknown_setting_is_refused_before_anything_is_trained(sweep: Sweep, tmp_path: Path) -> None:
    sweep.settings["typo"] = {"objective.los": "l1"}
    with pytest.raises(UserError, match=r"objective\.los"):
        run_sweep(sweep, tmp_path / "out")
    assert not (tmp_path / "out").exists()
