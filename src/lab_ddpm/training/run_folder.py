"""The folder of a run: only one process at a time trains in it, and its settings do not change."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import yaml
from filelock import FileLock, Timeout

from lab_ddpm.tools.errors import DataError, UserError
from lab_ddpm.tools.files import sweep, write_text
from lab_ddpm.tools.presets import flatten, read_mapping
from lab_ddpm.training.config import TrainConfig

# Settings that may change when a run continues: they do not change its result.
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
    """Create or reopen `runs_dir/name`, write config.yaml, and keep other trainings out of the folder.

    Raises:
        DataError: Another process is training this run.
        UserError: The folder belongs to a run with other settings. They are named.
    """
    run = Path(config.runs_dir) / config.name
    if not is_main_process:
        yield run
        return
    run.mkdir(parents=True, exist_ok=True)
    try:
        lock = FileLock(run / ".lock").acquire(timeout=0)
    except Timeout:
        raise DataError(f"{run}: another process is training this run, or saving it: try again soon") from None
    with lock:
        for part in ("states", "pipelines"):
            sweep((run / part).resolve())
        _check_same_settings(config, run / "config.yaml")
        write_text(run / "config.yaml", yaml.safe_dump(config.as_dict(), sort_keys=False))
        yield run


def _check_same_settings(config: TrainConfig, path: Path) -> None:
    if not path.is_file() or not any((path.parent / "states").glob("step_*")):
        return
    before, now = flatten(read_mapping(path), "."), config.by_dotted_key()
    changed = [key for key in now if key not in _FREE_KEYS and before.get(key) != now[key]]
    if changed:
        differences = ", ".join(f"{key} was {before.get(key)!r}, now {now[key]!r}" for key in changed)
        raise UserError(f"{path} belongs to a run with other settings ({differences}); choose another `--name`")
