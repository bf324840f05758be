"""Every config parses and fits; options beat presets; a wrong key or value is refused with its name."""

import subprocess
import sys
from itertools import takewhile
from pathlib import Path
from typing import Any

import pytest
import yaml

from lab_ddpm.cli import run
from lab_ddpm.data.open_dataset import DATASETS, IMAGE_SIZES
from lab_ddpm.tools.errors import UserError
from lab_ddpm.training.config_parser import parse_config
from lab_ddpm.training.model import check_settings

CONFIGS = Path(__file__).parents[2] / "configs"
PRESETS = sorted(CONFIGS.glob("*.yaml"))

REPORT = {
    "epochs": 150,
    "batch_size": 32,
    "data": {"image_size": 64, "conditional": True},
    "model": {
        "patch_size": 1,
        "block_out_channels": [128, 128, 256, 256, 512, 512],
        "layers_per_block": 2,
        "attention_levels": [4],
        "num_train_timesteps": 1000,
        "beta_schedule": "squaredcos_cap_v2",
        "prediction_type": "epsilon",
        "condition_dropout": 0.0,
    },
    "loss": {"name": "mse", "weight": "none", "timestep_density": "uniform"},
    "optimizer": {"name": "adamw", "learning_rate": 1e-3, "warmup_steps": 500, "ema_decay": 0.0},
    "sampling": {"guidance_scale": 1.0},
    "evaluation": {"split": "val", "metric": "auto"},
}


def preset(tmp_path: Path, content: object) -> list[str]:
    path = tmp_path / "preset.yaml"
    path.write_text(content if isinstance(content, str) else yaml.safe_dump(content), encoding="utf-8")
    return ["--config", str(path)]


def contains(settings: dict[str, Any], part: dict[str, Any]) -> bool:
    """Whether `settings` has every value of `part`, at any depth."""
    return all(
        contains(settings[key], value) if isinstance(value, dict) else settings[key] == value
        for key, value in part.items()
    )


@pytest.mark.parametrize("path", PRESETS, ids=lambda path: path.stem)
def test_every_preset_fits_and_names_the_command_that_runs_it(path: Path) -> None:
    config = parse_config(["--config", str(path)])
    check_settings(config)
    assert config.data.image_size == IMAGE_SIZES[config.data.dataset] or path.stem == "faces"
    lines = path.read_text(encoding="utf-8").splitlines()
    comment = "\n".join(takewhile(lambda line: line.startswith("#"), lines))
    assert "\n#   accelerate launch scripts/train.py" in comment or "\n#   make " in comment


def test_no_two_presets_train_into_the_same_folder() -> None:
    names = [parse_config(["--config", str(path)]).name for path in PRESETS]
    assert len(set(names)) == len(names) >= 2


def test_the_defaults_are_the_experiment_of_the_report() -> None:
    config = parse_config([])
    assert contains(config.as_dict(), REPORT)
    assert config == parse_config(["--config", str(CONFIGS / "iclevr.yaml")])


def test_a_dry_run_is_asked_for_by_an_option_or_in_a_file(tmp_path: Path) -> None:
    assert not parse_config([]).dry_run
    assert parse_config(["--dry_run"]).dry_run
    in_file = preset(tmp_path, {"dry_run": True})
    assert parse_config(in_file).dry_run
    assert not parse_config([*in_file, "--dry_run", "false"]).dry_run
    assert parse_config(["--dry_run", "--epochs", "3"]).dry_run


def test_a_run_has_at_most_twenty_evaluations() -> None:
    epochs = [parse_config(["--epochs", str(epochs)]).epochs_between_evaluations for epochs in (12, 100, 101, 1000)]
    assert epochs == [5, 5, 6, 50]


def test_options_beat_the_preset_and_leave_the_rest_of_it() -> None:
    path = CONFIGS / "iclevr_cpu.yaml"
    before = parse_config(["--config", str(path)]).as_dict()
    options = ["--optimizer.learning_rate", "5e-4", "--model.attention_levels", "[2]", "--loss.name", "huber"]
    after = parse_config([f"--config={path}", *options]).as_dict()
    before["optimizer"]["learning_rate"] = 5e-4
    before["model"]["attention_levels"] = [2]
    before["loss"]["name"] = "huber"
    assert after == before
    with pytest.raises(UserError, match="--config"):
        parse_config(["--seed", "3", "--config", str(path)])


def test_a_preset_states_only_what_differs_from_the_one_that_it_extends(tmp_path: Path) -> None:
    base = {"name": "base", "epochs": 7, "optimizer": {"learning_rate": 0.5, "ema_decay": 0.5}}
    (tmp_path / "base.yaml").write_text(yaml.safe_dump(base), encoding="utf-8")
    arguments = preset(tmp_path, {"extends": "base.yaml", "name": "own", "optimizer": {"learning_rate": 0.25}})
    config = parse_config(arguments)
    assert (config.name, config.epochs) == ("own", 7)
    assert (config.optimizer.learning_rate, config.optimizer.ema_decay) == (0.25, 0.5)


@pytest.mark.parametrize(
    ("arguments", "key"),
    [
        (["--epoch", "3"], "epoch"),
        (["--model.patch_siz", "2"], "model.patch_siz"),
        (["--model.labels", "[cat]"], "model.labels"),  # an argument of the model, but no setting
        (["--seed", "4294967296"], "seed"),
        (["--data.dataset", "imagenet"], "data.dataset"),
        (["--model.block_out_channels", "[64"], "model.block_out_channels"),
        (["--optimizer.ema_decay", "1"], "optimizer.ema_decay"),
        (["--evaluation.metric", "frechet"], "evaluation.metric"),  # not for i-CLEVR
        (["--evaluation.classifier", "mine.safetensors"], "evaluation.classifier"),
    ],
    ids=str,
)
def test_a_wrong_option_is_refused_with_its_name(arguments: list[str], key: str) -> None:
    with pytest.raises(UserError) as caught:
        parse_config(arguments)
    assert key in str(caught.value)
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("arguments", "key"),
    [
        (["--model.attention_levels", "[6]"], "model.attention_levels"),
        (["--model.layout_scale", "2"], "model.layout_scale"),  # predicts the noise
        (["--loss.object_weight", "5"], "loss.object_weight"),  # without a layout
        (["--model.condition_dropout", "0.1", "--data.conditional", "false"], "model.condition_dropout"),
        (["--loss.gamma", "2"], "loss.gamma"),
        (["--loss.logit_std", "0"], "loss.logit_std"),
        (["--sampling.scheduler", "ddimm"], "sampling.scheduler"),
        (["--sampling.guidance_scale", "2"], "sampling.guidance_scale"),  # without condition_dropout
    ],
    ids=str,
)
def test_settings_that_do_not_fit_the_model_are_refused_with_their_names(arguments: list[str], key: str) -> None:
    with pytest.raises(UserError, match=f"`{key}`"):
        check_settings(parse_config(arguments))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"epoch": 3}, ["preset.yaml", "epoch"]),
        ({"training": {"epochs": 3}, "settings": {"a": {}}}, ["preset.yaml"]),  # a sweep
        ({"optimizer": {"learning_rate": "fast"}}, ["learning_rate", "fast"]),
        ({"model": ["root"]}, ["preset.yaml", "model"]),
        ({"data": {"dataset": None}}, ["preset.yaml", "data.dataset"]),
        ({"extends": "preset.yaml"}, ["extends", "preset.yaml"]),
        ({"extends": "absent.yaml"}, ["absent.yaml"]),
        (["epochs"], ["preset.yaml"]),
        ("epochs: : 3", ["preset.yaml"]),
    ],
    ids=repr,
)
def test_a_wrong_preset_is_refused_with_the_file_and_the_key(tmp_path: Path, content: object, words: list[str]) -> None:
    with pytest.raises(UserError) as caught:
        parse_config(preset(tmp_path, content))
    assert not [word for word in words if word not in str(caught.value)], str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_written_config_reads_as_the_same_config(tmp_path: Path) -> None:
    options = ["--optimizer.weight_decay", "1e-12", "--loss.logit_mean", "-0.3", "--name", "007"]
    config = parse_config(["--config", str(CONFIGS / "iclevr_cpu.yaml"), *options])
    assert parse_config(preset(tmp_path, config.as_dict())) == config


def test_the_data_sets_are_those_that_can_be_opened() -> None:
    for name in DATASETS:
        assert parse_config(["--data.dataset", name]).data.dataset == name


def test_parsing_does_not_load_torch() -> None:
    code = "import sys; from lab_ddpm.training.config_parser import parse_config; parse_config([]); "
    subprocess.run([sys.executable, "-c", f"{code}assert 'torch' not in sys.modules"], check=True)


def test_a_tilde_is_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    config = parse_config(preset(tmp_path, {"data": {"root": "~/images"}, "name": "a~b"}))
    assert (config.data.root, config.name) == (f"{tmp_path}/images", "a~b")
    seen: list[str] = []
    run(seen.extend, ["--runs_dir=~/runs", "--out", "~/out", "--name=a~b"])
    assert seen == [f"--runs_dir={tmp_path}/runs", "--out", f"{tmp_path}/out", "--name=a~b"]
