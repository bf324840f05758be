"""The folder of a run: only one process at a time trains in it, its settings do not change, and what stays in it.

runs/NAME/states/step_0000500/        what the run resumes from, see `state`
runs/NAME/pipelines/step_0000500/     a pipeline that `from_pretrained` loads, written at each evaluation
runs/NAME/best -> pipelines/...       symbolic links, each replaced in one atomic step
runs/NAME/last -> pipelines/...
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml
from filelock import FileLock, Timeout

from lab_ddpm.diffusion.pipeline import LabelConditionalPipeline
from lab_ddpm.tools.errors import DataError, UserError
from lab_ddpm.tools.files import atomic_path, link_atomically, remove, sweep, write_text
from lab_ddpm.training.config import TrainConfig
from lab_ddpm.training.presets import flatten, read_mapping
from lab_ddpm.training.progress import Progress, read_progress, step_name

# Settings that may change when a run continues: they do not change its result.
_FREE_KEYS = (
    "runs_dir",
    "device",
    "channels_last",
    "compile",
    "trackers",
    "push_to_hub",
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
        config = continued(config, run)
        _check_same_settings(config.as_dict(), run)
        write_settings(config, run)
        try:
            yield run
        except UserError:
            if {path.name for path in run.iterdir()} == {".lock", "config.yaml"}:  # it was refused before it began
                remove(run)
            raise


def continued(config: TrainConfig, run: Path) -> TrainConfig:
    """The config, but for "auto" with the number of parts that a run chose when it started."""
    if config.gradient_accumulation_steps != "auto" or not _is_begun(run):
        return config
    parts = read_mapping(run / "config.yaml").get("gradient_accumulation_steps")
    if not isinstance(parts, int) or config.batch_size % parts:  # other settings, which are refused elsewhere
        return config
    return dataclasses.replace(config, gradient_accumulation_steps=parts)


def write_settings(config: TrainConfig, run: Path) -> None:
    """Write `run/config.yaml`."""
    write_text(run / "config.yaml", yaml.safe_dump(config.as_dict(), sort_keys=False))


def _is_begun(run: Path) -> bool:
    return (run / "config.yaml").is_file() and any((run / "states").glob("step_*"))


def _check_same_settings(settings: dict[str, Any], run: Path) -> None:
    if not _is_begun(run):
        return
    path = run / "config.yaml"
    before, now = flatten(read_mapping(path), "."), flatten(settings, ".")
    changed = [key for key in now if key not in _FREE_KEYS and before.get(key) != now[key]]
    if changed:
        differences = ", ".join(f"{key} was {before.get(key)!r}, now {now[key]!r}" for key in changed)
        raise UserError(f"{path} belongs to a run with other settings ({differences}); choose another `--name`")


def save_pipeline(pipeline: LabelConditionalPipeline, run: Path, step: int) -> None:
    """Write `run/pipelines/step_N`; replaces one that was written before a crash and that no state knows."""
    target = run / "pipelines" / step_name(step)
    remove(target)
    with atomic_path(target) as temporary:
        pipeline.save_pretrained(temporary)


def keep_pipelines(run: Path, progress: Progress, keep: int) -> None:
    """Link last/ and best/ to pipelines that `progress` knows, then delete those that no state needs.

    Call it after `progress` is saved in a state. A run that resumes from an older state still finds its best pipeline.

    Args:
        run: Folder of the run.
        progress: How far the run is, with the score of every evaluation.
        keep: How many of the best pipelines to keep. The last one is always kept.
    """
    folder = run / "pipelines"
    if progress.scores:
        link_atomically(folder / step_name(max(progress.scores)), run / "last")
        link_atomically(folder / step_name(progress.best_steps(1)[0]), run / "best")
    kept = set()
    for state in (progress, *map(read_progress, (run / "states").glob("step_*"))):
        kept |= {step_name(step) for step in (*state.best_steps(keep), *sorted(state.scores)[-1:])}
    for old in folder.glob("step_*"):
        if old.name not in kept:
            remove(old)
