"""From YAML presets and dotted command-line overrides to a `TrainConfig`.

`parse_config(["--config", "configs/iclevr_cpu.yaml", "--optimizer.learning_rate", "5e-4"])` reads a preset and changes
one value of it. A preset with `extends: OTHER.yaml` states only what differs from that file. An unknown key, or a value
of the wrong type, is refused with its name. This module does not load torch.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import yaml
from jsonargparse import ArgumentError, ArgumentParser, Namespace

from lab_ddpm.tools.errors import UserError
from lab_ddpm.training.config import TrainConfig, plain
from lab_ddpm.training.presets import read_preset
from lab_ddpm.training.signatures import read_signature

# Sections whose settings are the arguments of a class: its module, its name, and the arguments that are not settings.
_CLASSES = {
    "model": ("diffusion/denoiser.py", "Denoiser", {"labels", "sample_size", "in_channels"}),
    "loss": ("diffusion/loss.py", "DenoisingLoss", set[str]()),
    "sampling": ("diffusion/sampling.py", "Sampling", set[str]()),
}


def parse_config(arguments: Sequence[str]) -> TrainConfig:
    """Parse the command line of a training run: `--config PRESET.yaml` first, then `--dotted.key value` overrides.

    Raises:
        UserError: Naming the key, the value and the rule.
        SystemExit: For `--help`.
    """
    if any(argument.split("=")[0] == "--config" for argument in arguments[1:]):
        raise UserError("`--config` must come first: the options after it override the preset")
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
    for section in (*_CLASSES, "data", "optimizer", "evaluation"):
        if not isinstance(settings.get(section, {}), dict):
            raise UserError(f"{source}: `{section}` must be a mapping of settings, got {settings[section]!r}")
    parser = _make_parser()
    preset = ["--config", yaml.safe_dump(settings)]
    with _one_line(f"{source}: "):
        _check_null(parser, parser.parse_args(preset))
    with _one_line():
        values = parser.parse_args([*preset, *overrides])
        _check_null(parser, values)
        values.pop("config", None)
        arguments = {section: plain(vars(values.pop(section))) for section in _CLASSES}
        return TrainConfig(**vars(parser.instantiate(values)), **arguments)


def _make_parser() -> ArgumentParser:
    parser = ArgumentParser(
        prog="lab-ddpm train",
        description="Train a label-conditional diffusion model. The same command again continues where it stopped. "
        "What is in `backticks` is explained in the module of that name in src/lab_ddpm.",
        allow_abbrev=False,
        exit_on_error=False,
    )
    dry_run = "check the settings and the images, and train nothing"
    parser.add_argument("--dry_run", type=bool, nargs="?", const=True, default=False, help=dry_run)
    parser.add_argument("--config", action="config", help="a file of configs/; must be the first option")
    parser.add_class_arguments(TrainConfig, as_group=False, skip={*_CLASSES, "dry_run"})
    for section, (module, name, skipped) in _CLASSES.items():
        parser.add_class_arguments(read_signature(module, name), section, skip=set(skipped), instantiate=False)
    return parser


def _check_null(parser: ArgumentParser, values: Namespace) -> None:
    """Refuse null for settings that are not None by default. (jsonargparse accepts it for any setting.)"""
    for key, default in parser.get_defaults().items():
        if default is not None and values[key] is None:
            raise ValueError(f"`{key}` must not be null")


@contextmanager
def _one_line(place: str = "") -> Iterator[None]:
    """Turn jsonargparse's message about a setting into a `UserError` of one line."""
    try:
        yield
    except UserError:
        raise
    except (ArgumentError, KeyError, OverflowError, RecursionError, TypeError, ValueError) as error:
        raise UserError(f"{place}{' '.join(str(error).split())}") from None
