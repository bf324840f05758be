"""What a run leaves on disk, and how it is found again.

    runs/NAME/checkpoints/step_0000500/   everything needed to go on exactly
    runs/NAME/pipelines/step_0000500/     a pipeline that `from_pretrained` loads, written at each evaluation
    runs/NAME/best -> pipelines/...       symbolic links, replaced in one atomic step
    runs/NAME/last -> pipelines/...

A folder is written under a temporary name, synced and renamed, and older ones are deleted only after that, so a
crash at any moment leaves at least as many good checkpoints as there were before. Nothing here unpickles code:
weights are safetensors, the optimizer's state is read with `weights_only=True`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from diffusers import DDPMScheduler
from diffusers.training_utils import EMAModel
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from lab_ddpm.errors import DataError
from lab_ddpm.files import atomic_path, link_atomically, remove
from lab_ddpm.pipeline import LabelConditionalPipeline
from lab_ddpm.unet import LabelConditionalUNet
from lab_ddpm.weights import first_line

PRETRAINED = Path("pretrained/iclevr-cpu")
_STATES_KEPT = 2


@dataclass
class Progress:
    """How far a run is.

    Attributes:
        step: Optimizer steps done.
        seconds: Wall time spent on them, evaluations included, over all starts of the run.
        scores: The metric of each evaluated pipeline, by step.
    """

    step: int = 0
    seconds: float = 0.0
    scores: dict[int, float] = field(default_factory=dict)

    def best_steps(self, count: int) -> list[int]:
        """The steps of the `count` best pipelines, best first; of equal ones the later comes first."""
        return sorted(self.scores, key=lambda step: (self.scores[step], step), reverse=True)[:count]


@dataclass
class TrainingObjects:
    """The live objects of a run whose state a checkpoint holds, as `accelerator.prepare` returned them."""

    accelerator: Accelerator
    unet: torch.nn.Module
    optimizer: torch.optim.Optimizer
    lr_scheduler: torch.optim.lr_scheduler.LRScheduler
    ema: EMAModel | None

    def save(self, run: Path, progress: Progress) -> None:
        """Write `run/checkpoints/step_N`, then delete all but the newest two. For the main process only."""
        target = run / "checkpoints" / step_name(progress.step)
        if not target.exists():
            scaler = self.accelerator.scaler
            state = {
                "optimizer": self.optimizer.state_dict(),
                "lr_scheduler": self.lr_scheduler.state_dict(),
                "scaler": None if scaler is None else scaler.state_dict(),
            }
            with _disk_errors(), atomic_path(target) as temporary:
                temporary.mkdir()
                save_file(self.accelerator.unwrap_model(self.unet).state_dict(), temporary / "unet.safetensors")
                if self.ema is not None:
                    shadow = {str(i): parameter for i, parameter in enumerate(self.ema.shadow_params)}
                    save_file(shadow, temporary / "ema.safetensors")
                torch.save(state, temporary / "optimizer.pt")
                (temporary / "progress.json").write_text(json.dumps(asdict(progress)), encoding="utf-8")
        for old in sorted(target.parent.glob("step_*"))[:-_STATES_KEPT]:
            remove(old)

    def load(self, run: Path) -> Progress:
        """Restore the newest checkpoint of `run` on every process; a fresh `Progress` if there is none."""
        checkpoints = sorted((run / "checkpoints").glob("step_*"))
        if not checkpoints:
            return Progress()
        folder = checkpoints[-1]
        try:
            self.accelerator.unwrap_model(self.unet).load_state_dict(load_file(folder / "unet.safetensors"))
            state = torch.load(folder / "optimizer.pt", map_location="cpu", weights_only=True)
            self.optimizer.load_state_dict(state["optimizer"])
            self.lr_scheduler.load_state_dict(state["lr_scheduler"])
            if self.accelerator.scaler is not None:
                self.accelerator.scaler.load_state_dict(state["scaler"])
            content = json.loads((folder / "progress.json").read_text(encoding="utf-8"))
            if self.ema is not None:
                shadow = load_file(folder / "ema.safetensors")
                for i, parameter in enumerate(self.ema.shadow_params):
                    parameter.copy_(shadow[str(i)])
                self.ema.optimization_step = content["step"]
        except (OSError, SafetensorError, RuntimeError, KeyError, ValueError) as error:
            raise DataError(f"{folder}: this checkpoint cannot be resumed from ({first_line(error)})") from None
        content["scores"] = {int(step): score for step, score in content["scores"].items()}
        return Progress(**content)


def step_name(step: int) -> str:
    """Folder name of a step; names sort like numbers."""
    return f"step_{step:07d}"


def save_pipeline(pipeline: LabelConditionalPipeline, run: Path, progress: Progress, keep: int) -> None:
    """Write the pipeline of the present step, point last/ and best/ at their steps, then delete the others.

    Args:
        pipeline: Holding the weights to save.
        run: Folder of the run.
        progress: With the score of the present step already in `scores`.
        keep: How many of the best pipelines stay; the last one stays in any case.
    """
    folder = run / "pipelines"
    target = folder / step_name(progress.step)
    if not target.exists():
        with _disk_errors(), atomic_path(target) as temporary:
            pipeline.save_pretrained(temporary)
    best = progress.best_steps(keep)
    link_atomically(target, run / "last")
    link_atomically(folder / step_name(best[0]), run / "best")
    kept = {step_name(step) for step in [progress.step, *best]}
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
        raise DataError(f"{path}: not a saved pipeline (it has no model_index.json)")
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
        return LabelConditionalPipeline(unet.eval(), scheduler, settings["guidance_scale"])
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
        f"no checkpoint: neither {runs}/*/best nor {pretrained} exists; train one, or name one by --checkpoint"
    )


def checkpoint_hash(path: str | Path) -> str:
    """SHA-256 over the weights and settings of a pipeline folder, 16 hexadecimal digits of it."""
    digest = hashlib.sha256()
    for part in ("model_index.json", "scheduler", "unet"):
        entry = Path(path) / part
        for file in sorted(entry.iterdir()) if entry.is_dir() else [entry]:
            digest.update(file.name.encode() + hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()[:16]


@contextmanager
def _disk_errors() -> Iterator[None]:
    """torch and safetensors report a full disk as errors of their own; make them the OSError that they are."""
    try:
        yield
    except (SafetensorError, RuntimeError) as error:
        raise OSError(f"a checkpoint could not be written ({first_line(error)})") from error
