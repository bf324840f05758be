"""From YAML presets and dotted command-line overrides to a `TrainConfig`.

`parse_config(["--config", "configs/iclevr_cpu.yaml", "--optimizer.learning_rate", "5e-4"])` reads a preset and
changes one value of it. A preset that begins with `extends: OTHER.yaml` states only what differs from that file beside
it. A key that does not exist, or a value of the wrong type or out of range, is refused with its name before anything
runs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import fields, is_dataclass
from typing import Any

import yaml
from jsonargparse import ArgumentError, ArgumentParser, Namespace

from lab_ddpm.tools.errors import UserError
from lab_ddpm.tools.presets import read_preset
from lab_ddpm.training.config import TrainConfig


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
    preset = ["--config", yaml.safe_dump(settings)]
    with _one_line(f"{source}: "):
        _check_null(parser, parser.parse_args(preset))
    with _one_line():
        values = parser.parse_args([*preset, *overrides])
        _check_null(parser, values)
        values.pop("config", None)
        return TrainConfig(**vars(parser.instantiate(values)))


def _check_null(parser: ArgumentParser, values: Namespace) -> None:
    """jsonargparse takes null for a setting of any type; here only one that is None by default may be it."""
    for key, default in parser.get_defaults().items():
        if default is not None and values[key] is None:
            raise ValueError(f"`{key}` must not be null")


@contextmanager
def _one_line(place: str = "") -> Iterator[None]:
    """jsonargparse's message about a setting as a `UserError`."""
    try:
        yield
    except UserError:
        raise
    except (ArgumentError, KeyError, OverflowError, TypeError, ValueError) as error:
        raise UserError(f"{place}{' '.join(str(error).split())}") from None
