"""The folder of a run: only one process at a time trains in it, its settings do not change, and what stays in it.

runs/NAME/states/step_0000500/        what the run resumes from, see `state`
runs/NAME/pipelines/step_0000500/     a pipeline that `from_pretrained` loads, written at each evaluation
runs/NAME/best -> pipelines/...       symbolic links, each replaced in one atomic step
runs/NAME/last -> pipelines/...
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import yaml
from accelerate import Accelerator
from filelock import FileLock, Timeout

from lab_ddpm.diffusion.pipeline import LabelConditionalPipeline
from lab_ddpm.tools.errors import DataError, UserError
from lab_ddpm.tools.files import atomic_path, link_atomically, remove, sweep, write_text
from lab_ddpm.training.config import TrainConfig
from lab_ddpm.training.config_parser import make_config
from lab_ddpm.training.presets import read_mapping
from lab_ddpm.training.processes import check_shared
from lab_ddpm.training.progress import Progress, read_progress, step_name

# Settings that may change when a run continues: they do not change its result.
_FREE_KEYS = (
    "runs_dir",
    "dry_run",
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
def claim_run_folder(config: TrainConfig, accelerator: Accelerator) -> Iterator[Path]:
    """Create or reopen the folder of a run, and keep other trainings out of it. All processes call it.

    Raises:
        DataError: Another launch is training this run.
        UserError: The folder belongs to a run with other settings, which are named, or machines do not share it.
    """
    run = Path(config.runs_dir) / config.name
    with ExitStack() as held:
        if accelerator.is_main_process:
            held.enter_context(_lock(run))
        check_shared(run, accelerator)
        check_same_settings(config, run)
        yield run


@contextmanager
def _lock(run: Path) -> Iterator[None]:
    """Hold the lock of a folder. Without a run in it, the folder is removed if the settings are refused."""
    run.mkdir(parents=True, exist_ok=True)
    try:
        lock = FileLock(run / ".lock").acquire(timeout=0)
    except Timeout:
        raise DataError(f"{run}: another process is training this run, or saving it: try again soon") from None
    with lock:
        for part in ("states", "pipelines"):
            sweep((run / part).resolve())
        try:
            yield
        except UserError:
            if {path.name for path in run.iterdir()} <= {".lock", "config.yaml"}:
                remove(run)
            raise


def begun_with(run: Path) -> dict[str, Any]:
    """The settings in a run's config.yaml; none as long as it has no state."""
    is_begun = (run / "config.yaml").is_file() and any((run / "states").glob("step_*"))
    return read_mapping(run / "config.yaml") if is_begun else {}


def write_settings(config: TrainConfig, run: Path) -> None:
    """Write the run's config.yaml."""
    write_text(run / "config.yaml", yaml.safe_dump(config.as_dict(), sort_keys=False))


def check_same_settings(config: TrainConfig, run: Path) -> None:
    """Raise `UserError` if the run in the folder has begun with other settings, which are named.

    A setting that is newer than the run had its default.
    """
    begun = begun_with(run)
    if not begun:
        return
    before, now = _by_key(make_config({}).as_dict()) | _by_key(begun), _by_key(config.as_dict())
    if now["gradient_accumulation_steps"] == "auto":  # the run keeps its number
        del now["gradient_accumulation_steps"]
    changed = [key for key in now if key not in _FREE_KEYS and before[key] != now[key]]
    if changed:
        differences = ", ".join(f"{key} was {before[key]!r}, now {now[key]!r}" for key in changed)
        raise UserError(
            f"{run / 'config.yaml'} belongs to a run with other settings ({differences}); choose another `--name`"
        )


def _by_key(settings: dict[str, Any]) -> dict[str, Any]:
    """{"section.key": value}. A mapping inside a section, such as `unet_options`, is one value."""
    flat: dict[str, Any] = {}
    for name, value in settings.items():
        flat |= {f"{name}.{key}": entry for key, entry in value.items()} if isinstance(value, dict) else {name: value}
    return flat


def save_pipeline(pipeline: LabelConditionalPipeline, run: Path, step: int) -> None:
    """Write `run/pipelines/step_N`; replaces one that was written before a crash and that no state knows."""
    target = run / "pipelines" / step_name(step)
    remove(target)
    with atomic_path(target) as temporary:
        pipeline.save_pretrained(temporary)


def keep_pipelines(run: Path, progress: Progress, keep: int) -> None:
    """Link last/ and best/ to pipelines that `progress` knows, then delete those that no state needs.

    Call it after `progress` is saved in a state. The last pipeline and the `keep` best ones of each state stay, so a
    run that resumes from an older state still finds its best.
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
