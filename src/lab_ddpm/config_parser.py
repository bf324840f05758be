"""From YAML presets and dotted command-line overrides to a `TrainConfig`.

`parse_config(["--config", "configs/iclevr_cpu.yaml", "--optimizer.learning_rate", "5e-4"])` reads a preset and
changes one value of it. A preset that begins with `extends: OTHER.yaml` states only what differs from that file beside
it. A key that does not exist, or a value of the wrong type or out of range, is refused with its name before anything
runs.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import fields, is_dataclass
from typing import Any

import yaml
from jsonargparse import ArgumentParser

from lab_ddpm.config import TrainConfig
from lab_ddpm.errors import UserError, did_you_mean
from lab_ddpm.presets import read_preset


def parse_config(arguments: Sequence[str]) -> TrainConfig:
    """Parse the command line of a training run.

    Args:
        arguments: `--config PRESET.yaml` first, then `--dotted.key value` overrides.

    Raises:
        UserError: Naming the key, the value and the rule.
        SystemExit: For `--help`.
    """
    if any(argument.split("=")[0] == "--config" for argument in arguments[1:]):
        raise UserError("`--config` must come first: what follows it overrides the preset")
    arguments = [part for argument in arguments[:1] for part in argument.split("=", 1)] + list(arguments[1:])
    if arguments[:1] == ["--config"] and len(arguments) > 1:
        return make_config(read_preset(arguments[1]), arguments[2:], source=arguments[1])
    return make_config({}, arguments)


def make_config(settings: dict[str, Any], overrides: Sequence[str] = (), source: str = "config") -> TrainConfig:
    """The config of nested `settings` under the command-line `overrides`; errors about `settings` name `source`.

    Raises:
        UserError: Naming the key, the value and the rule.
        SystemExit: For `--help` among the overrides.
    """
    if {"training", "settings"} <= settings.keys():
        raise UserError(f"{source}: a sweep of many trainings is for scripts/ablate.py")
    if unknown := sorted(settings.keys() - {entry.name for entry in fields(TrainConfig)}):
        choices = [entry.name for entry in fields(TrainConfig)]
        hint = did_you_mean(unknown[0], choices)
        raise UserError(f"{source}: {hint}a setting must be one of {choices}, got {unknown[0]!r}")
    for section in (entry.name for entry in fields(TrainConfig) if is_dataclass(entry.default_factory)):
        if not isinstance(settings.get(section, {}), dict):
            raise UserError(f"{source}: `{section}` must be a mapping of settings, got {settings[section]!r}")
    parser = ArgumentParser(
        prog="lab-ddpm train",
        description="Train a label-conditional diffusion model; the same command again goes on where it stopped.",
        allow_abbrev=False,
        exit_on_error=False,
    )
    parser.add_argument("--config", action="config", help="a preset of configs/; comes before any other option")
    parser.add_class_arguments(TrainConfig, as_group=False)
    try:
        values = parser.parse_args(["--config", yaml.safe_dump(settings), *overrides])
        values.pop("config", None)
        return TrainConfig(**vars(parser.instantiate(values)))
    except UserError:
        raise
    except Exception as error:
        raise UserError(_plain_message(str(error))) from None


def _plain_message(message: str) -> str:
    """jsonargparse's message on one line, and in the words of our own where it is about a value or an option."""
    message = " ".join(message.split())
    if found := re.match(r"unrecognized arguments: (?P<option>--[\w.]+)", message):
        options = [f"--{key}" for key in _keys(TrainConfig)]
        return f"{did_you_mean(found['option'], options)}{message} (see lab-ddpm train --help)"
    if found := re.fullmatch(r"Group '(?P<section>\w+)' does not accept option '(?P<key>\w+)'", message):
        key = f"{found['section']}.{found['key']}"
        return f"{did_you_mean(key, _keys(TrainConfig))}there is no setting {key!r} (see lab-ddpm train --help)"
    found = re.fullmatch(r'Parser key "(?P<key>.+?)": Expected an? (?P<rule>.+)\. Got value: (?P<value>.*)', message)
    if found is None:
        return message
    rule = re.sub(r"^typing\.Literal(\[.*\])$", r"one of \1", found["rule"])
    rule = re.sub(r"^<class '(\w+)'>$", r"of type \1", rule).replace("of type tuple", "a list such as [1, 2]")
    hint = did_you_mean(found["value"], re.findall(r"'(\w+)'", rule))
    return f"{hint}`{found['key']}` must be {rule}, got {found['value']!r}"


def _keys(config: Any, prefix: str = "") -> list[str]:
    """The dotted keys of a dataclass of settings."""
    keys = []
    for entry in fields(config):
        section = entry.default_factory
        keys += _keys(section, f"{prefix}{entry.name}.") if is_dataclass(section) else [prefix + entry.name]
    return keys
