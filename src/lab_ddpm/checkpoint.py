"""The pipelines that a run leaves on disk, and how they are found again.

    runs/NAME/pipelines/step_0000500/     a pipeline that `from_pretrained` loads, written at each evaluation
    runs/NAME/best -> pipelines/...       symbolic links, replaced in one atomic step
    runs/NAME/last -> pipelines/...

What a run goes on from is in checkpoints/, see `training_objects`.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from diffusers import DDPMScheduler
from safetensors import SafetensorError

from lab_ddpm.errors import DataError, first_line
from lab_ddpm.files import atomic_path, link_atomically, read_json, remove
from lab_ddpm.pipeline import LabelConditionalPipeline
from lab_ddpm.unet import LabelConditionalUNet
from lab_ddpm.weights import naming_disk_errors

PRETRAINED = Path("pretrained/iclevr-cpu")


@dataclass
class Progress:
    """How far a run is.

    Attributes:
        step: Optimizer steps done.
        seconds: Wall time spent on them, evaluations included, over all starts of the run.
        scores: The metric of each evaluated pipeline, by step.
        data: Fingerprint of the pictures and labels.
    """

    step: int = 0
    seconds: float = 0.0
    scores: dict[int, float] = field(default_factory=dict)
    data: str = ""

    def best_steps(self, count: int) -> list[int]:
        """The steps of the `count` best pipelines, best first; of equal ones the later comes first."""
        return sorted(self.scores, key=lambda step: (self.scores[step], step), reverse=True)[:count]


def read_progress(checkpoint: Path) -> Progress:
    """The progress in a folder of `checkpoints/`.

    Raises:
        DataError: It is missing or broken.
    """
    content = read_json(checkpoint / "progress.json")
    try:
        progress = Progress(**cast(Any, content))
        progress.scores = {int(step): score for step, score in progress.scores.items()}
    except (TypeError, ValueError, AttributeError) as error:
        raise DataError(f"{checkpoint / 'progress.json'}: no progress of a run ({first_line(error)})") from None
    return progress


def step_name(step: int) -> str:
    """Folder name of a step; names sort like numbers."""
    return f"step_{step:07d}"


def save_pipeline(pipeline: LabelConditionalPipeline, run: Path, step: int) -> None:
    """Write `run/pipelines/step_N`, in the place of what a run that was stopped before its checkpoint left there."""
    target = run / "pipelines" / step_name(step)
    remove(target)
    with naming_disk_errors(), atomic_path(target) as temporary:
        pipeline.save_pretrained(temporary)


def keep_pipelines(run: Path, progress: Progress, keep: int) -> None:
    """Point last/ and best/ at pipelines that `progress` knows of; then delete those that no checkpoint needs.

    To be called when `progress` is in a checkpoint. A run that goes on from the one before still finds its best.

    Args:
        run: Folder of the run.
        progress: With the score of every evaluation.
        keep: How many of the best pipelines stay; the last one stays in any case.
    """
    folder = run / "pipelines"
    if progress.scores:
        link_atomically(folder / step_name(max(progress.scores)), run / "last")
        link_atomically(folder / step_name(progress.best_steps(1)[0]), run / "best")
    kept = set()
    for state in (progress, *map(read_progress, (run / "checkpoints").glob("step_*"))):
        kept |= {step_name(step) for step in (*state.best_steps(keep), *sorted(state.scores)[-1:])}
    for old in folder.glob("step_*"):
        if old.name not in kept:
            remove(old)


def load_pipeline(path: str | Path) -> LabelConditionalPipeline:
    """Load a pipeline folder, in evaluation mode.

    Raises:
        DataError: The folder is missing, half-written or of another kind of model.
    """
    path = Path(path)
    if not path.is_dir():
        raise DataError(f"{path}: no such checkpoint folder")
    index = path / "model_index.json"
    if not index.is_file():
        hint = f"; did you mean {path / 'best'}?" if (path / "best" / "model_index.json").is_file() else ""
        raise DataError(f"{path}: not a saved pipeline (it has no model_index.json){hint}")
    try:
        settings = json.loads(index.read_text(encoding="utf-8"))
        if settings["_class_name"] != LabelConditionalPipeline.__name__:
            found = settings["_class_name"]
            raise DataError(f"{path}: must hold a {LabelConditionalPipeline.__name__}, got a {found}")
        for part in ("unet", "scheduler"):
            if not (path / part).is_dir():
                raise DataError(f"{path}: this checkpoint is incomplete (it has no {part}/)")
        loaded: Any = LabelConditionalUNet.from_pretrained(
            path / "unet", output_loading_info=True, low_cpu_mem_usage=False
        )
        unet, info = loaded
        # from_pretrained only logs a warning where weights are missing, and leaves them random
        if misfits := [key for keys in info.values() for key in keys]:
            raise DataError(
                f"{path}: the weights are those of another model ({len(misfits)} misfits, {misfits[0]} ...)"
            )
        scheduler = DDPMScheduler.from_pretrained(path / "scheduler")
        own = {key: settings[key] for key in ("guidance_scale", "condition_dropout", "fit")}
        return LabelConditionalPipeline(unet.eval(), scheduler, **own)
    except DataError:
        raise
    except (OSError, SafetensorError, RuntimeError, KeyError, TypeError, ValueError) as error:
        raise DataError(f"{path}: this checkpoint is broken or another model's ({first_line(error)})") from None


def default_checkpoint(runs: str | Path = "runs", pretrained: Path = PRETRAINED) -> Path:
    """The newest `runs/*/best`, else the shipped pipeline.

    Raises:
        DataError: There is neither.
    """
    best = [path for path in Path(runs).glob("*/best") if (path / "model_index.json").is_file()]
    if best:
        return max(best, key=lambda path: (path / "model_index.json").stat().st_mtime)
    if (pretrained / "model_index.json").is_file():
        return pretrained
    raise DataError(
        f"no checkpoint: {Path.cwd()} has neither {runs}/*/best nor {pretrained}; train one, name one by --checkpoint, "
        "or start from the repository's folder"
    )


def checkpoint_hash(path: str | Path) -> str:
    """SHA-256 over the weights and settings of a pipeline folder, 16 hexadecimal digits of it."""
    digest = hashlib.sha256()
    for part in ("model_index.json", "scheduler", "unet"):
        entry = Path(path) / part
        for file in sorted(entry.iterdir()) if entry.is_dir() else [entry]:
            digest.update(file.name.encode() + hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()[:16]
