"""The precision of `accelerate launch`, for a config that leaves it open."""

from __future__ import annotations

import dataclasses
import os
from typing import Any

from lab_ddpm.tools.errors import check_choice
from lab_ddpm.tools.launched import is_first_process
from lab_ddpm.training.config import TrainConfig


def take_launcher_precision(config: TrainConfig) -> TrainConfig:
    """The config with the launcher's fp16 or bf16, unless it has a precision of its own.

    If both have one, the config's is kept, and one line says so.

    Raises:
        UserError: The launcher's precision is of another kind.
    """
    chosen: Any = os.environ.get("ACCELERATE_MIXED_PRECISION", "no")
    check_choice("mixed_precision", chosen, ("no", "fp16", "bf16"))
    if chosen == "no":  # which is also what the launcher passes on if nobody chose
        return config
    if config.mixed_precision == "auto":
        return dataclasses.replace(config, mixed_precision=chosen)
    if config.mixed_precision != chosen and is_first_process():
        print(f"`mixed_precision`: using {config.mixed_precision!r} of the config, not {chosen!r} of accelerate launch")
    return config
