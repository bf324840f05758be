"""What `accelerate launch` was told, for the settings that a config leaves open.

The launcher passes on its precision as an environment variable, but "no" there may also mean that nobody chose one. It
does not pass on the gradient accumulation at all. So its command line is read, by its own parser.
"""

from __future__ import annotations

import dataclasses
import os
from argparse import Namespace
from pathlib import Path

import psutil
from accelerate.commands.config.config_args import default_config_file
from accelerate.commands.launch import launch_command_parser

from lab_ddpm.tools.errors import check_choice
from lab_ddpm.tools.launched import is_first_process
from lab_ddpm.training.config import TrainConfig

_LAUNCHERS = ("launch", "accelerate-launch", "accelerate.commands.launch", "launch.py")
_OPEN = {"mixed_precision": "auto", "gradient_accumulation_steps": 1}  # the values that mean "not chosen"


def take_launcher_settings(config: TrainConfig) -> TrainConfig:
    """The config with the launcher's precision and gradient accumulation, unless it has its own.

    If both have one, the config's is kept, and one line says so.

    Raises:
        UserError: The launcher's precision is of another kind.
    """
    told = _launcher_settings()
    check_choice("mixed_precision", told.get("mixed_precision", "no"), ("no", "fp16", "bf16"))
    for name, value in told.items():
        own = getattr(config, name)
        if own not in (_OPEN[name], value) and is_first_process():
            print(f"`{name}`: using {own!r} of the config, not {value!r} of accelerate launch")
    return dataclasses.replace(config, **{name: v for name, v in told.items() if getattr(config, name) == _OPEN[name]})


def _launcher_settings() -> dict[str, object]:
    if "ACCELERATE_MIXED_PRECISION" not in os.environ:  # not launched
        return {}
    options = _launcher_options()
    settings: dict[str, object] = {"gradient_accumulation_steps": options.gradient_accumulation_steps}
    precision, config_file = os.environ["ACCELERATE_MIXED_PRECISION"], Path(options.config_file or default_config_file)
    if precision != "no" or options.mixed_precision or config_file.is_file():
        settings["mixed_precision"] = precision
    return {name: value for name, value in settings.items() if value is not None}


def _launcher_options() -> Namespace:
    """The options of the `accelerate launch` that started this process; none if another program did."""
    try:
        command = psutil.Process(os.getppid()).cmdline()
    except psutil.Error:
        command = []
    start = next((place for place, word in enumerate(command) if Path(word).name in _LAUNCHERS), 0)
    options = command[start + 1 :] if start else []
    return launch_command_parser().parse_known_args([*options] or ["script"])[0]
