"""The folder of a run: claimed by one process at a time, and by one configuration for good."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import yaml
from filelock import FileLock, Timeout

from lab_ddpm.tools.errors import DataError, UserError
from lab_ddpm.tools.files import sweep, write_text
from lab_ddpm.tools.presets import flatten, read_mapping
from lab_ddpm.training.config import TrainConfig

# What a run may change when it goes on: settings that say how it is carried out, not what comes out.
_FREE_KEYS = (
    "runs_dir",
    "device",
    "trackers",
    "log_every_steps",
    "save_every_steps",
    "data.root",
    "data.num_workers",
)


@contextmanager
def claim_run_folder(config: TrainConfig, is_main_process: bool) -> Iterator[Path]:
    """Create or reopen `runs_dir/name`, and keep other processes out of it.

    Raises:
        DataError: Another process is training this run.
        UserError: The folder belongs to a run with other settings; they are named.
    """
    run = Path(config.runs_dir) / config.name
    if not is_main_process:
        yield run
        return
    with ExitStack() as stack:
        run.mkdir(parents=True, exist_ok=True)
        try:
            stack.enter_context(FileLock(run / ".lock", timeout=0))
        except Timeout:
            raise DataError(f"{run}: another process is training this run, or saving it: try again soon") from None
        for part in ("states", "pipelines"):
            sweep((run / part).resolve())
        _check_same_settings(config, run / "config.yaml")
        yield run


def _check_same_settings(config: TrainConfig, path: Path) -> None:
    settings = config.as_dict()
    if path.is_file() and any((path.parent / "states").glob("step_*")):
        before, now = flatten(read_mapping(path), "."), settled(config)
        changed = [key for key in now if before.get(key) != now[key]]
        if changed:
            differences = ", ".join(f"{key} was {before.get(key)!r}, now {now[key]!r}" for key in changed)
            raise UserError(f"{path} is of a run with other settings ({differences}); choose another `--name`")
    write_text(path, yaml.safe_dump(settings, sort_keys=False))


def settled(config: TrainConfig) -> dict[str, Any]:
    """The settings that decide what comes out of a run, by dotted key."""
    return {key: value for key, value in flatten(config.as_dict(), ".").items() if key not in _FREE_KEYS}
