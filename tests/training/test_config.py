"""Every preset parses, flags beat presets, and a wrong key or value is refused with its name and the rule."""

import re
from dataclasses import asdict, fields, is_dataclass, replace
from itertools import takewhile
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest
import yaml

from conftest import tiny_config
from lab_ddpm.data.dataset import DATASETS
from lab_ddpm.data.iclevr import SPLITS
from lab_ddpm.diffusion.denoiser import LOSSES
from lab_ddpm.diffusion.loss_weights import LOSS_WEIGHTS, TIMESTEP_DENSITIES
from lab_ddpm.diffusion.noise import BETA_SCHEDULES, PREDICTION_TYPES
from lab_ddpm.diffusion.schedulers import SCHEDULERS
from lab_ddpm.generation.sampler import RUNTIMES
from lab_ddpm.tools.arguments import RUNTIMES_HELP, SPLITS_HELP, Parser, add_sampling
from lab_ddpm.tools.errors import UserError
from lab_ddpm.training.config import TrainConfig
from lab_ddpm.training.config_parser import parse_config
from lab_ddpm.training.config_sections import DataConfig, DiffusionConfig, EvaluationConfig, ObjectiveConfig

CONFIGS = Path(__file__).parents[2] / "configs"
PRESETS = sorted(CONFIGS.glob("*.yaml"))

REPORT = {
    "epochs": 150,
    "batch_size": 32,
    "gradient_accumulation_steps": 1,
    "mixed_precision": "auto",
    "data": {"image_size": 64},
    "model": {
        "conditional": True,
        "patch_size": 1,
        "block_out_channels": [128, 128, 256, 256, 512, 512],
        "layers_per_block": 2,
        "attention_levels": [4],
        "resnet_time_scale_shift": "default",
    },
    "diffusion": {
        "num_train_timesteps": 1000,
        "beta_schedule": "squaredcos_cap_v2",
        "prediction_type": "epsilon",
    },
    "objective": {
        "loss": "mse",
        "loss_weight": "none",
        "timestep_density": "uniform",
        "condition_dropout": 0.0,
    },
    "optimizer": {"learning_rate": 1e-3, "warmup_steps": 500, "ema_decay": 0.0},
    "evaluation": {"split": "val", "metric": "auto", "guidance_scale": 1.0},
}


def preset(tmp_path: Path, content: object) -> list[str]:
    path = tmp_path / "preset.yaml"
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    return ["--config", str(path)]


def contains(settings: dict[str, Any], part: dict[str, Any]) -> bool:
    """Whether `settings` has every value of `part`, at any depth."""
    return all(
        contains(settings[key], value) if isinstance(value, dict) else settings[key] == value
        for key, value in part.items()
    )


@pytest.mark.parametrize("path", PRESETS, ids=lambda path: path.stem)
def test_every_preset_parses_and_says_what_runs_it(path: Path) -> None:
    assert parse_config(["--config", str(path)]).name
    lines = path.read_text(encoding="utf-8").splitlines()
    comment = "\n".join(takewhile(lambda line: line.startswith("#"), lines))
    assert "\n#   accelerate launch scripts/train.py" in comment or "\n#   make " in comment


def test_no_two_presets_train_into_the_same_folder() -> None:
    names = [parse_config(["--config", str(path)]).name for path in PRESETS]
    assert len(set(names)) == len(names) >= 2


def test_the_iclevr_preset_is_the_experiment_of_the_report() -> None:
    config = parse_config(["--config", str(CONFIGS / "iclevr.yaml")])
    assert contains(config.as_dict(), REPORT)
    assert contains(TrainConfig().as_dict(), REPORT)


def test_the_iclevr_preset_is_the_default() -> None:
    config = parse_config(["--config", str(CONFIGS / "iclevr.yaml")])
    assert config == TrainConfig() == parse_config([])


def test_overrides_beat_the_preset_and_leave_the_rest_of_it() -> None:
    arguments = ["--config", str(CONFIGS / "iclevr_cpu.yaml")]
    before = parse_config(arguments)
    after = parse_config([*arguments, "--optimizer.learning_rate", "5e-4", "--model.attention_levels", "[2]"])
    assert after.optimizer.learning_rate == 5e-4
    assert after.model.attention_levels == (2,)
    restored = replace(
        after,
        optimizer=replace(after.optimizer, learning_rate=before.optimizer.learning_rate),
        model=replace(after.model, attention_levels=before.model.attention_levels),
    )
    assert restored == before


def test_a_preset_states_only_what_differs_from_the_one_that_it_extends(tmp_path: Path) -> None:
    base = {"name": "base", "epochs": 7, "optimizer": {"learning_rate": 0.5, "ema_decay": 0.5}}
    (tmp_path / "base.yaml").write_text(yaml.safe_dump(base), encoding="utf-8")
    arguments = preset(tmp_path, {"extends": "base.yaml", "name": "own", "optimizer": {"learning_rate": 0.25}})
    config = parse_config([*arguments, "--seed", "3"])
    assert (config.name, config.epochs, config.seed) == ("own", 7, 3)
    assert (config.optimizer.learning_rate, config.optimizer.ema_decay) == (0.25, 0.5)


def test_presets_that_extend_each_other_are_refused(tmp_path: Path) -> None:
    for name, base in (("a", "b"), ("b", "a")):
        (tmp_path / f"{name}.yaml").write_text(f"extends: {base}.yaml", encoding="utf-8")
    with pytest.raises(UserError, match=r"`extends` must name another YAML file beside it, got 'a\.yaml'"):
        parse_config(["--config", str(tmp_path / "a.yaml")])


def test_the_two_forms_of_naming_a_preset_are_the_same() -> None:
    path = CONFIGS / "faces.yaml"
    assert parse_config([f"--config={path}", "--seed", "3"]) == parse_config(["--config", str(path), "--seed", "3"])


@pytest.mark.parametrize("form", ["--config {}", "--config={}"])
def test_a_preset_after_an_override_is_refused(form: str) -> None:
    later = form.format(CONFIGS / "iclevr_cpu.yaml").split()
    with pytest.raises(UserError, match="`--config` must come first"):
        parse_config(["--seed", "3", *later])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--epoch", "3"], ["epoch"]),
        (["--optimizer.learning_rat", "1"], ["optimizer.learning_rat"]),
        (["--epochs", "three"], ["epochs", "three"]),
        (["--epochs", "2.5"], ["epochs", "2.5"]),
        (["--epochs", "0"], ["`epochs`", "at least 1", "0"]),
        (["--seed", "-1"], ["`seed`", "at least 0", "-1"]),
        (["--seed", "4294967296"], ["`seed`", "at most 4294967295", "4294967296"]),
        (["--batch_size", "0"], ["`batch_size`", "at least 1"]),
        (["--gradient_accumulation_steps", "0"], ["`gradient_accumulation_steps`", "at least 1"]),
        (["--gradient_accumulation_steps", "5"], ["multiple of `gradient_accumulation_steps`", "32 and 5"]),
        (["--save_every_steps", "0"], ["`save_every_steps`", "at least 1"]),
        (["--log_every_steps", "0"], ["`log_every_steps`", "at least 1"]),
        (["--mixed_precision", "fp8"], ["mixed_precision", "bf16", "fp8"]),
        (["--device", "tpu"], ["device", "cuda", "tpu"]),
        (["--name", "a/b"], ["`name`", "plain folder name", "a/b"]),
        (["--name", ".."], ["`name`", "plain folder name", ".."]),
        (["--name", ""], ["`name`", "plain folder name"]),
        (["--data.image_size", "48"], ["`data.image_size`", "multiple of 32", "48"]),
        (["--data.image_size", "0"], ["`data.image_size`", "at least 1"]),
        (["--data.num_workers", "-1"], ["`data.num_workers`", "at least 0"]),
        (["--data.num_scenes", "0"], ["`data.num_scenes`", "at least 1"]),
        (["--data.dataset", "imagenet"], ["data.dataset", "cifar10", "imagenet"]),
        (["--model.conditional", "24"], ["model.conditional", "bool", "24"]),
        (["--evaluation.num_images", "0"], ["`evaluation.num_images`", "at least 1"]),
        (["--model.patch_size", "0"], ["`model.patch_size`", "at least 1"]),
        (["--model.layout_scale", "-1"], ["`model.layout_scale`", "at least 0"]),
        (
            ["--model.layout_scale", "2", "--model.conditional", "false"],
            ["`model.layout_scale`", "unconditional", "2.0"],
        ),
        (["--model.layout_scale", "2"], ["`model.layout_scale`", "'sample'", "'epsilon'"]),
        (["--model.detail_channels", "[8, 0]"], ["`model.detail_channels`", "at least 1", "0"]),
        (["--model.detail_share", "0"], ["`model.detail_share`", "must be positive", "0"]),
        (["--model.detail_share", "1.5"], ["`model.detail_share`", "[0, 1]", "1.5"]),
        (["--objective.detail_only", "true"], ["`objective.detail_only`", "`init_from`", "[]", "None"]),
        (["--model.detail_channels", "[8]"], ["`model.detail_channels`", "'sample'", "[8]", "'epsilon'"]),
        (["--objective.layout_dropout", "0.1"], ["`objective.layout_dropout`", "`model.layout_scale`", "0.1"]),
        (["--objective.layout_dropout", "1"], ["`objective.layout_dropout`", "[0, 1)"]),
        (["--optimizer.name", "sgd"], ["optimizer.name", "muon", "sgd"]),
        (["--data.count_weights", "[1, 0]"], ["`data.count_weights`", "positive", "0"]),
        (
            ["--data.count_weights", "[1]", "--model.conditional", "false"],
            ["`data.count_weights`", "unconditional", "[1.0]"],
        ),
        (["--data.same_first_word_weight", "0"], ["`data.same_first_word_weight`", "positive", "0"]),
        (
            ["--data.same_first_word_weight", "2", "--model.conditional", "false"],
            ["`data.same_first_word_weight`", "unconditional", "2.0"],
        ),
        (["--model.layers_per_block", "0"], ["`model.layers_per_block`", "at least 1"]),
        (["--model.attention_head_dim", "0"], ["`model.attention_head_dim`", "at least 1"]),
        (["--model.attention_head_dim", "513"], ["`model.attention_head_dim`", "got 513 and 512"]),
        (["--model.block_out_channels", "[64"], ["model.block_out_channels", "tuple", "[64"]),
        (["--model.block_out_channels", "[]"], ["model.block_out_channels", "at least 1"]),
        (
            ["--model.block_out_channels", "[48]"],
            ["`model.block_out_channels`", "`model.norm_num_groups`", "48 and 32"],
        ),
        (["--model.attention_levels", "[6]"], ["`model.attention_levels`", "one of [0, 1, 2, 3, 4, 5]", "6"]),
        (["--diffusion.num_train_timesteps", "1"], ["`diffusion.num_train_timesteps`", "at least 2"]),
        (["--diffusion.beta_schedule", "cosine"], ["diffusion.beta_schedule", "squaredcos_cap_v2", "cosine"]),
        (["--diffusion.prediction_type", "noise"], ["diffusion.prediction_type", "epsilon", "noise"]),
        (["--objective.loss", "l2"], ["objective.loss", "mse", "l2"]),
        (["--objective.loss_weight_gamma", "2"], ["`objective.loss_weight_gamma`", "'none'", "2.0"]),
        (["--objective.loss_weight_gamma", "0"], ["`objective.loss_weight_gamma`", "positive"]),
        (["--objective.logit_std", "0"], ["`objective.logit_std`", "positive"]),
        (["--objective.condition_dropout", "1"], ["`objective.condition_dropout`", "[0, 1)"]),
        (["--optimizer.learning_rate", "0"], ["`optimizer.learning_rate`", "positive"]),
        (["--optimizer.learning_rate", ".nan"], ["`optimizer.learning_rate`", "finite", "nan"]),
        (["--optimizer.learning_rate", ".inf"], ["`optimizer.learning_rate`", "finite", "inf"]),
        (["--objective.logit_mean", ".inf"], ["`objective.logit_mean`", "finite", "inf"]),
        (["--optimizer.weight_decay", "-1"], ["`optimizer.weight_decay`", "at least 0"]),
        (["--optimizer.warmup_steps", "-1"], ["`optimizer.warmup_steps`", "at least 0"]),
        (["--optimizer.max_grad_norm", "0"], ["`optimizer.max_grad_norm`", "positive"]),
        (["--optimizer.ema_decay", "1"], ["`optimizer.ema_decay`", "[0, 1)"]),
        (["--evaluation.every_epochs", "0"], ["`evaluation.every_epochs`", "at least 1"]),
        (["--evaluation.steps", "0"], ["`evaluation.steps`", "at least 1"]),
        (["--evaluation.steps", "1001"], ["`evaluation.steps`", "1000", "1001"]),
        (["--evaluation.keep", "0"], ["`evaluation.keep`", "at least 1"]),
        (["--evaluation.guidance_scale", "0"], ["`evaluation.guidance_scale`", "positive"]),
        (["--evaluation.metric", "fid"], ["evaluation.metric", "exact_match", "fid"]),
        (["--evaluation.guidance_scale", "2"], ["`evaluation.guidance_scale`", "objective.condition_dropout", "2"]),
        (
            ["--model.conditional", "false", "--objective.condition_dropout", "0.1"],
            ["`objective.condition_dropout`", "unconditional", "0.1"],
        ),
        (["--evaluation.scheduler", "ddimm"], ["evaluation.scheduler", "dpmpp", "ddimm"]),
    ],
    ids=" ".join,
)
def test_a_wrong_argument_is_refused_in_one_line(arguments: list[str], words: list[str]) -> None:
    with pytest.raises(UserError) as caught:
        parse_config(arguments)
    message = str(caught.value)
    assert not [word for word in words if word not in message], message
    assert "\n" not in message
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"epoch": 3}, ["preset.yaml", "'epoch'"]),
        ({"optimizer": {"lr": 3}}, ["preset.yaml", "'optimizer'", "'lr'"]),
        ({"training": {}, "settings": {}}, ["preset.yaml", "scripts/ablate.py"]),
        ({"optimizer": {"learning_rat": 1e-3}}, ["learning_rat"]),
        ({"optimizer": {"learning_rate": "fast"}}, ["learning_rate", "fast"]),
        ({"optimizer": {"learning_rate": -1.0}}, ["`optimizer.learning_rate`", "positive", "-1"]),
        ({"objective": {"loss": "l2"}}, ["loss", "mse", "l2"]),
        ({"name": None}, ["preset.yaml", "`name`", "null"]),
        ({"data": {"dataset": None}}, ["preset.yaml", "`data.dataset`", "null"]),
        ({"extends": "preset.yaml"}, ["`extends`", "another YAML file", "preset.yaml"]),
        ({"extends": 3}, ["`extends`", "another YAML file", "3"]),
        ({"extends": "absent.yaml"}, ["absent.yaml", "cannot be read"]),
        (
            {"data": {"dataset": "folder"}, "evaluation": {"metric": "micro"}},
            ["`evaluation.metric`", "'none', 'frechet', 'labels_found'", "'folder'", "got 'micro'"],
        ),
        (
            {"data": {"dataset": "folder"}, "model": {"conditional": False}, "evaluation": {"metric": "labels_found"}},
            ["`evaluation.metric`", "'none', 'frechet']", "unconditional", "got 'labels_found'"],
        ),
        (
            {"model": {"conditional": False}, "evaluation": {"metric": "exact_match"}},
            ["`evaluation.metric`", "['auto', 'none']", "unconditional", "got 'exact_match'"],
        ),
        ({"evaluation": {"metric": "frechet"}}, ["`evaluation.metric`", "'micro', 'exact_match'", "got 'frechet'"]),
        ({"optimizer": 3}, ["preset.yaml", "optimizer", "mapping"]),
        ({"data": ["root"]}, ["preset.yaml", "data", "mapping"]),
        (["epochs"], ["mapping", "epochs"]),
        ("", ["mapping"]),
        ("epochs: : 3", ["no valid YAML", "line 1"]),
        ("data: [1", ["no valid YAML", "line 1"]),
    ],
    ids=repr,
)
def test_a_wrong_preset_is_refused_with_the_key_and_the_value(
    tmp_path: Path, content: object, words: list[str]
) -> None:
    arguments = preset(tmp_path, content)
    if isinstance(content, str):
        (tmp_path / "preset.yaml").write_text(content, encoding="utf-8")
    with pytest.raises(UserError) as caught:
        parse_config(arguments)
    assert not [word for word in words if word not in str(caught.value)], str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_preset_is_named() -> None:
    with pytest.raises(UserError, match=r"absent\.yaml"):
        parse_config(["--config", "configs/absent.yaml"])


@pytest.mark.parametrize(
    "overrides",
    [
        [],
        ["--optimizer.learning_rate", "1e-5", "--optimizer.weight_decay", "1e-12"],
        ["--objective.logit_mean", "-0.3", "--model.block_out_channels", "[32, 64, 96]", "--name", "007"],
    ],
    ids=repr,
)
def test_a_written_config_reads_as_the_same_config(tmp_path: Path, overrides: list[str]) -> None:
    config = parse_config(["--config", str(CONFIGS / "iclevr_cpu.yaml"), *overrides])
    assert parse_config(preset(tmp_path, config.as_dict())) == config


def test_every_setting_can_be_given_on_the_command_line(tmp_path: Path) -> None:
    config = tiny_config(tmp_path, objective__loss="huber", model__patch_size=2)
    assert (config.objective.loss, config.model.patch_size) == ("huber", 2)
    assert config.data.root == str(tmp_path / "data")
    assert config.downsampling() == 4


def test_the_choices_are_those_of_the_modules_that_use_them() -> None:
    def choices(config_class: type, key: str) -> tuple[str, ...]:
        return get_args(get_type_hints(config_class)[key])

    assert choices(DiffusionConfig, "prediction_type") == PREDICTION_TYPES
    assert choices(DiffusionConfig, "beta_schedule") == tuple(BETA_SCHEDULES)
    assert choices(ObjectiveConfig, "loss") == tuple(LOSSES)
    assert choices(ObjectiveConfig, "loss_weight") == LOSS_WEIGHTS
    assert choices(ObjectiveConfig, "timestep_density") == TIMESTEP_DENSITIES
    assert choices(DataConfig, "dataset") == DATASETS
    assert choices(EvaluationConfig, "scheduler") == tuple(SCHEDULERS)


def test_help_names_all_choices() -> None:
    parser = Parser("command", "")
    add_sampling(parser)
    (scheduler,) = [action.help for action in parser._actions if action.dest == "scheduler"]
    for names, text in ((SCHEDULERS, scheduler or ""), (RUNTIMES, RUNTIMES_HELP), (SPLITS, SPLITS_HELP)):
        assert set(names) <= set(re.findall(r"\w+", text))


def test_a_config_cannot_be_changed_behind_its_checks() -> None:
    config = TrainConfig()
    for part in [config, *(getattr(config, field.name) for field in fields(config))]:
        if is_dataclass(part):
            with pytest.raises(AttributeError, match="cannot assign"):
                setattr(part, next(iter(asdict(part))), None)  # type: ignore[arg-type]
