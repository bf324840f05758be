"""Where a run is watched beside its metrics.jsonl: TensorBoard or Weights & Biases, by Accelerate's trackers."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from accelerate import Accelerator

from lab_ddpm.data.images import Pictures
from lab_ddpm.tools.errors import UserError
from lab_ddpm.training.config import TrainConfig

_PROJECT = "lab_ddpm"


def check_tracker(config: TrainConfig) -> None:
    """Raise `UserError` where the tracker that `config` asks for is not installed."""
    if config.trackers != "none" and find_spec(config.trackers) is None:
        raise UserError(f"`trackers` {config.trackers!r} is not installed: pip install {config.trackers}")


def start_trackers(accelerator: Accelerator, config: TrainConfig, folder: Path, step: int) -> None:
    """Begin to report, or go on from `step`: what an interrupted run had reported beyond it is forgotten.

    TensorBoard's files are in `folder/lab_ddpm/`; Weights & Biases has one run of the name of `folder`.
    """
    options = {"tensorboard": {"purge_step": step + 1}, "wandb": {"name": config.name, "dir": str(folder)}}
    if config.trackers != "none":
        settings = {
            key: value if isinstance(value, (bool, float, int)) else str(value)
            for key, value in _flat(config.as_dict()).items()
        }
        accelerator.init_trackers(_PROJECT, settings, {config.trackers: options[config.trackers]})


def report(accelerator: Accelerator, values: Mapping[str, Any], step: int) -> None:
    """Numbers by name, nested ones with a slash between the names; ends of intervals as `low` and `high`."""
    if accelerator.trackers:
        accelerator.log({key: value for key, value in _flat(values).items() if value is not None}, step=step)


def report_picture(accelerator: Accelerator, name: str, picture: Pictures, step: int) -> None:
    """A picture (H, W, C)."""
    for tracker in accelerator.trackers:
        options = {"dataformats": "NHWC"} if tracker.name == "tensorboard" else {}
        tracker.log_images({name: picture[None]}, step=step, **options)


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{key}/")
        elif key == "ci95" and value is not None:
            flat |= {f"{prefix}low": value[0], f"{prefix}high": value[1]}
        else:
            flat[prefix + key] = value
    return flat
