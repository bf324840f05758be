"""The argument parser of the scripts, and the options that several of them have."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from lab_ddpm.data.iclevr import SPLITS
from lab_ddpm.diffusion.scheduler_names import SCHEDULERS
from lab_ddpm.tools.errors import UserError, did_you_mean
from lab_ddpm.training.config import HUB_OPTIONS, DataConfig

_OWN = "the checkpoint's own"
SPLITS_HELP = f"{', '.join(SPLITS)} or a JSON file of conditions"


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one line that names the command.

    Only the first line of the description is shown, so that a script can pass its docstring.
    """

    def __init__(self, command: str, description: str | None) -> None:
        first, _, _ = (description or "").partition("\n")
        super().__init__(prog=f"lab-ddpm {command}", description=first, allow_abbrev=False)

    def parse_known_args(
        self, args: Sequence[str] | None = None, namespace: Any = None
    ) -> tuple[argparse.Namespace, list[str]]:
        """As in argparse, but unknown options are an error that suggests the right one."""
        found, unknown = super().parse_known_args(args, namespace)
        if unknown:
            hint = did_you_mean(unknown[0].split("=")[0], self._option_string_actions)
            self.error(f"{hint}unrecognized arguments: {' '.join(unknown)}")
        return found, unknown

    def error(self, message: str) -> NoReturn:
        """Raise the message as a `UserError`."""
        raise UserError(f"{message} (see {self.prog} --help)")


def add_checkpoint(parser: argparse.ArgumentParser) -> None:
    """The argument that names a pipeline."""
    parser.add_argument("--checkpoint", type=Path, help="pipeline folder (default: newest runs/*/best, else shipped)")


def add_sampling(parser: argparse.ArgumentParser, scheduler: str = _OWN, steps: int | str = _OWN) -> None:
    """The other arguments of `generation.checkpoint.open_pipeline`; `scheduler` and `steps` name the defaults."""
    parser.add_argument("--scheduler", help=f"{', '.join(SCHEDULERS)} (default: {scheduler})")
    parser.add_argument("--steps", type=int, help=f"denoising steps (default: {steps})")
    runtimes = "torch (float32), bf16, onnx (see lab-ddpm export onnx), or auto, the fastest here (default: auto)"
    parser.add_argument("--runtime", help=runtimes)
    parser.add_argument("--guidance-scale", type=float, help=f"1 means no guidance (default: {_OWN})")


def sampling_options(options: argparse.Namespace) -> dict[str, Any]:
    """The options of `add_sampling` that were given, by the argument names of `open_pipeline`."""
    names = ("scheduler", "steps", "guidance_scale", "runtime")
    return {name: value for name in names if (value := getattr(options, name)) is not None}


def add_hub_options(parser: argparse.ArgumentParser) -> None:
    """The settings of `train` that choose a part of a data set of the Hub."""
    group = parser.add_argument_group("for data of the Hugging Face Hub, as for lab-ddpm train")
    for name in HUB_OPTIONS:
        group.add_argument(f"--data.{name}", metavar="NAME")


def hub_options(options: argparse.Namespace, dataset: Any) -> dict[str, Any]:
    """The options of `add_hub_options` that were given, by name. Raises `UserError` for another data set than "hub"."""
    return DataConfig(dataset, **{name: getattr(options, f"data.{name}") for name in HUB_OPTIONS}).hub_options


def refuse(options: argparse.Namespace, chosen: str, *others: str) -> None:
    """Raise `UserError` if one of the other options is given together with the chosen one."""
    for name in others:
        if getattr(options, name) is not None:
            raise UserError(f"`{chosen}` cannot be combined with `--{name.replace('_', '-')}`")
