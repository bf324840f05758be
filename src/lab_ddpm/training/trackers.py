"""Other places to watch a run than its metrics.jsonl: TensorBoard, Weights & Biases or Trackio, by Accelerate."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from accelerate import Accelerator

from lab_ddpm.data.images import Images
from lab_ddpm.tools.files import write_text
from lab_ddpm.training.config import TrainConfig


def start_trackers(config: TrainConfig, accelerator: Accelerator, folder: Path, step: int) -> None:
    """Start or continue reporting, on the main process.

    TensorBoard's files are in `folder/lab_ddpm/`; reports after `step` are deleted from them. Weights &
    Biases continues the run whose id is in `folder/wandb_id`, and ignores steps that it has already seen. Trackio
    continues the run whose name ends with the id in `folder/trackio_id`, and shows steps that are done again twice.
    """
    if config.trackers == "none":
        return
    options: dict[str, Any] = {"purge_step": step + 1}
    if config.trackers == "wandb":
        options = {"name": config.name, "id": _run_id(config.trackers, folder), "resume": "allow", "dir": str(folder)}
    elif config.trackers == "trackio":
        options = {"name": f"{config.name}-{_run_id(config.trackers, folder)}", "resume": "allow"}
    settings = {
        key: value if isinstance(value, (bool, float, int)) else str(value)
        for key, value in _flatten(config.as_dict()).items()
    }
    accelerator.init_trackers("lab_ddpm", settings, {config.trackers: options})


def _run_id(tracker: str, folder: Path) -> str:
    """The id of a run folder. Each new folder gets its own, because several runs may have the same name."""
    path = folder / f"{tracker}_id"
    if not path.is_file():
        write_text(path, uuid.uuid4().hex)
    return path.read_text(encoding="utf-8")


def report(accelerator: Accelerator, values: Mapping[str, Any], step: int) -> None:
    """Report numbers by name. Nested names are joined by a slash; the ends of intervals are named `low` and `high`."""
    if not accelerator.trackers:
        return
    numbers: dict[str, Any] = {}
    for name, value in _flatten(values).items():
        if name.endswith("/ci95"):
            low_and_high = [name.removesuffix("ci95") + end for end in ("low", "high")]
            numbers |= dict(zip(low_and_high, value, strict=True)) if value else {}
        elif value is not None:
            numbers[name] = value
    accelerator.log(numbers, step=step)


def report_image(accelerator: Accelerator, name: str, image: Images, step: int) -> None:
    """Report an image, (H, W, C) uint8."""
    for tracker in accelerator.trackers:
        if tracker.name == "trackio":  # Accelerate's tracker has no `log_images` for it
            from trackio import Image  # pyright: ignore[reportMissingImports]

            tracker.log({name: Image(image)}, step=step)
            continue
        options = {"dataformats": "NHWC"} if tracker.name == "tensorboard" else {}
        tracker.log_images({name: image[None]}, step=step, **options)


def _flatten(values: Mapping[str, Any]) -> dict[str, Any]:
    """Nested mappings as one flat mapping: {"a": {"b": 1}} -> {"a/b": 1}."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        inner = _flatten(value) if isinstance(value, Mapping) else None
        flat |= {key: value} if inner is None else {f"{key}/{name}": leaf for name, leaf in inner.items()}
    return flat
