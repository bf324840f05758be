"""Where a run is watched beside its metrics.jsonl: TensorBoard or Weights & Biases, by Accelerate's trackers."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from accelerate import Accelerator

from lab_ddpm.data.images import Pictures
from lab_ddpm.tools.presets import flatten
from lab_ddpm.training.config import TrainConfig

_PROJECT = "lab_ddpm"


def start_trackers(accelerator: Accelerator, config: TrainConfig, folder: Path, step: int) -> None:
    """Begin to report, or go on from `step`.

    TensorBoard's files are in `folder/lab_ddpm/`; what an interrupted run had reported beyond `step` is forgotten.
    Weights & Biases goes on with the run of the name of `folder`, and ignores the steps that it has seen already.
    """
    wandb = {"name": config.name, "id": config.name, "resume": "allow", "dir": str(folder)}
    options = {"tensorboard": {"purge_step": step + 1}, "wandb": wandb}
    if config.trackers != "none":
        settings = {
            key: value if isinstance(value, (bool, float, int)) else str(value)
            for key, value in flatten(config.as_dict(), "/").items()
        }
        accelerator.init_trackers(_PROJECT, settings, {config.trackers: options[config.trackers]})


def report(accelerator: Accelerator, values: Mapping[str, Any], step: int) -> None:
    """Numbers by name, nested ones with a slash between the names; ends of intervals as `low` and `high`."""
    if not accelerator.trackers:
        return
    numbers: dict[str, Any] = {}
    for name, value in flatten(values, "/").items():
        if name.endswith("/ci95"):
            low_and_high = [name.removesuffix("ci95") + end for end in ("low", "high")]
            numbers |= dict(zip(low_and_high, value, strict=True)) if value else {}
        elif value is not None:
            numbers[name] = value
    accelerator.log(numbers, step=step)


def report_picture(accelerator: Accelerator, name: str, picture: Pictures, step: int) -> None:
    """A picture (H, W, C)."""
    for tracker in accelerator.trackers:
        options = {"dataformats": "NHWC"} if tracker.name == "tensorboard" else {}
        tracker.log_images({name: picture[None]}, step=step, **options)
