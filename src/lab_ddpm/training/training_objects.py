"""What a training run holds in memory, and the checkpoints that it goes on from.

    runs/NAME/checkpoints/step_0000500/   everything needed to go on exactly

A checkpoint is written under a temporary name, synced and renamed, and older ones are deleted only after that, so a
crash at any moment leaves at least as many good ones as there were before. Nothing here unpickles code: weights are
safetensors, the optimizer's state is read with `weights_only=True`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from accelerate import Accelerator
from diffusers.training_utils import EMAModel
from safetensors.torch import save_file
from transformers import get_cosine_schedule_with_warmup

from lab_ddpm.checkpoint import Progress, read_progress, step_name
from lab_ddpm.errors import DataError, first_line
from lab_ddpm.files import atomic_path, remove, write_json
from lab_ddpm.weights import naming_disk_errors, read_weights

_KEPT = 2


@dataclass
class TrainingObjects:
    """The live objects of a run whose state a checkpoint holds, as `accelerator.prepare` returned them."""

    accelerator: Accelerator
    unet: torch.nn.Module
    optimizer: torch.optim.Optimizer
    lr_scheduler: torch.optim.lr_scheduler.LRScheduler
    ema: EMAModel | None

    @contextmanager
    def averaged_weights(self) -> Iterator[None]:
        """Inside the block the network holds its averaged weights, if an average is kept."""
        if self.ema is None:
            yield
            return
        parameters = list(self.unet.parameters())
        self.ema.store(parameters)
        self.ema.copy_to(parameters)
        try:
            yield
        finally:
            self.ema.restore(parameters)

    def save(self, run: Path, progress: Progress) -> None:
        """Write `run/checkpoints/step_N`, then delete all but the newest two. For the main process only."""
        target = run / "checkpoints" / step_name(progress.step)
        if target.exists():  # the weights of a step are its weights, but it may have been evaluated since
            write_json(target / "progress.json", asdict(progress))
        else:
            self._write(target, progress)
        for old in sorted(target.parent.glob("step_*"))[:-_KEPT]:
            remove(old)

    def _write(self, target: Path, progress: Progress) -> None:
        scaler = self.accelerator.scaler
        state = {
            "optimizer": self.optimizer.state_dict(),
            "lr_scheduler": self.lr_scheduler.state_dict(),
            "scaler": None if scaler is None else scaler.state_dict(),
        }
        with naming_disk_errors(), atomic_path(target) as temporary:
            temporary.mkdir()
            save_file(self.accelerator.unwrap_model(self.unet).state_dict(), temporary / "unet.safetensors")
            if self.ema is not None:
                shadow = {str(i): parameter for i, parameter in enumerate(self.ema.shadow_params)}
                save_file(shadow, temporary / "ema.safetensors")
            torch.save(state, temporary / "optimizer.pt")
            (temporary / "progress.json").write_text(json.dumps(asdict(progress)), encoding="utf-8")

    def load(self, run: Path) -> Progress:
        """Restore the newest checkpoint of `run` on every process; a fresh `Progress` if there is none.

        Raises:
            DataError: The checkpoint is broken.
        """
        folder = _newest_checkpoint(run)
        if folder is None:
            return Progress()
        weights, state = read_weights(folder / "unet.safetensors"), read_weights(folder / "optimizer.pt")
        try:
            self.accelerator.unwrap_model(self.unet).load_state_dict(weights)
            self.optimizer.load_state_dict(state["optimizer"])
            self.lr_scheduler.load_state_dict(state["lr_scheduler"])
            if self.accelerator.scaler is not None:
                self.accelerator.scaler.load_state_dict(state["scaler"])
            progress = read_progress(folder)
            if self.ema is not None:
                shadow = read_weights(folder / "ema.safetensors")
                for i, parameter in enumerate(self.ema.shadow_params):
                    parameter.copy_(shadow[str(i)])
                self.ema.optimization_step = progress.step
            return progress
        except (OSError, RuntimeError, KeyError, TypeError, ValueError) as error:
            raise DataError(
                f"{folder}: this checkpoint cannot be resumed from ({first_line(error)}); remove the folder to go on "
                "from the one before"
            ) from None


def newest_weights(run: Path) -> dict[str, torch.Tensor]:
    """The network's own weights, not their average, in the newest checkpoint of `run`.

    Raises:
        DataError: There is no checkpoint, or a broken one.
    """
    folder = _newest_checkpoint(run)
    if folder is None:
        raise DataError(f"{run}: no checkpoints")
    return read_weights(folder / "unet.safetensors")


def _newest_checkpoint(run: Path) -> Path | None:
    return max((run / "checkpoints").glob("step_*"), default=None)


def make_training_objects(
    accelerator: Accelerator,
    unet: torch.nn.Module,
    learning_rate: float,
    weight_decay: float,
    warmup_steps: int,
    total_steps: int,
    ema_decay: float,
) -> TrainingObjects:
    """AdamW (arXiv:1711.05101), linear warm-up and cosine decay to zero, and an average of the weights.

    Args:
        accelerator: Prepares them.
        unet: The network, on the accelerator's device.
        learning_rate: The peak.
        weight_decay: Of AdamW.
        warmup_steps: Steps to the peak.
        total_steps: Steps to zero.
        ema_decay: Of the exponential moving average of the weights, after diffusers' warm-up; 0 for none.
    """
    optimizer = torch.optim.AdamW(unet.parameters(), lr=learning_rate, weight_decay=weight_decay, fused=True)
    lr_scheduler = get_cosine_schedule_with_warmup(optimizer, warmup_steps, total_steps)
    ema = EMAModel(unet.parameters(), decay=ema_decay, foreach=True) if ema_decay else None
    unet, optimizer, lr_scheduler = accelerator.prepare(unet, optimizer, lr_scheduler)
    return TrainingObjects(accelerator, unet, optimizer, lr_scheduler, ema)
