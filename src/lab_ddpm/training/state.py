"""What a training run holds in memory, and the states on disk that it goes on from.

    runs/NAME/states/step_0000500/   everything needed to go on exactly

A state is written under a temporary name, synced and renamed, and older ones are deleted only after that, so a
crash at any moment leaves at least as many good ones as there were before. Nothing here unpickles code: weights are
safetensors, the rest is read with `weights_only=True`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from accelerate import Accelerator
from diffusers.training_utils import EMAModel
from safetensors.torch import save_file
from transformers import get_cosine_schedule_with_warmup

from lab_ddpm.diffusion.denoiser import Denoiser
from lab_ddpm.tools.checksums import check_sums, write_sums
from lab_ddpm.tools.errors import DataError, first_line
from lab_ddpm.tools.files import atomic_path, remove
from lab_ddpm.tools.weights import naming_disk_errors, read_weights
from lab_ddpm.training.config_sections import OptimizerConfig
from lab_ddpm.training.optimizer import make_optimizer
from lab_ddpm.training.progress import Progress, read_progress, step_name, write_progress

_KEPT = 2


@dataclass
class TrainingState:
    """The live objects of a run, as `accelerator.prepare` returned them."""

    accelerator: Accelerator
    denoiser: torch.nn.Module
    optimizer: torch.optim.Optimizer
    lr_scheduler: torch.optim.lr_scheduler.LRScheduler
    ema: EMAModel | None

    @contextmanager
    def averaged_weights(self) -> Iterator[None]:
        """Inside the block the network holds its averaged weights, if an average is kept."""
        if self.ema is None:
            yield
            return
        parameters = list(self.denoiser.parameters())
        self.ema.store(parameters)
        self.ema.copy_to(parameters)
        try:
            yield
        finally:
            self.ema.restore(parameters)

    def save(self, run: Path, progress: Progress) -> None:
        """Write `run/states/step_N`, then delete all but the newest two. For the main process only."""
        target = run / "states" / step_name(progress.step)
        if target.exists():  # the weights of a step are its weights, but it may have been evaluated since
            write_progress(target, progress)
        else:
            self._write(target, progress)
        for old in sorted(target.parent.glob("step_*"))[:-_KEPT]:
            remove(old)

    def _write(self, target: Path, progress: Progress) -> None:
        scaler = self.accelerator.scaler
        rest = {
            "optimizer": self.optimizer.state_dict(),
            "lr_scheduler": self.lr_scheduler.state_dict(),
            "scaler": None if scaler is None else scaler.state_dict(),
            "ema": None if self.ema is None else self.ema.state_dict(),
        }
        with naming_disk_errors(target), atomic_path(target) as temporary:
            temporary.mkdir()
            save_file(self.accelerator.unwrap_model(self.denoiser).state_dict(), temporary / "denoiser.safetensors")
            torch.save(rest, temporary / "training.pt")
            write_sums(temporary, ["denoiser.safetensors", "training.pt"])
            write_progress(temporary, progress)

    def load(self, run: Path) -> None:
        """Restore the newest state of `run`, if there is one, on every process.

        Raises:
            DataError: The state is broken.
        """
        folder = newest_state(run)
        if folder is None:
            return
        with _resuming_from(folder):
            check_sums(folder)
            weights, rest = read_weights(folder / "denoiser.safetensors"), read_weights(folder / "training.pt")
            self.accelerator.unwrap_model(self.denoiser).load_state_dict(weights)
            self.optimizer.load_state_dict(rest["optimizer"])
            self.lr_scheduler.load_state_dict(rest["lr_scheduler"])
            if self.accelerator.scaler is not None and rest["scaler"] is not None:
                self.accelerator.scaler.load_state_dict(rest["scaler"])
            if self.ema is not None:
                self.ema.load_state_dict(rest["ema"])
                self.ema.to(self.accelerator.device)


@contextmanager
def _resuming_from(state: Path) -> Iterator[None]:
    try:
        yield
    except (DataError, OSError, RuntimeError, KeyError, TypeError, ValueError) as error:
        raise DataError(
            f"{state}: this state cannot be resumed from ({first_line(error)}); remove the folder to go on "
            "from the one before"
        ) from None


def newest_progress(run: Path) -> Progress:
    """How far the newest state of `run` is; a fresh `Progress` if there is none.

    Raises:
        DataError: The state is broken.
    """
    folder = newest_state(run)
    if folder is None:
        return Progress()
    with _resuming_from(folder):
        return read_progress(folder)


def newest_weights(run: Path) -> dict[str, torch.Tensor]:
    """The network's own weights, not their average, in the newest state of `run`.

    Raises:
        DataError: There is no state, or a broken one.
    """
    folder = newest_state(run)
    if folder is None:
        raise DataError(f"{run}: no states")
    check_sums(folder)
    return read_weights(folder / "denoiser.safetensors")


def newest_state(run: Path) -> Path | None:
    """Folder of the newest state of `run`, if there is one."""
    return max((run / "states").glob("step_*"), default=None)


def make_training_state(
    accelerator: Accelerator,
    denoiser: Denoiser,
    config: OptimizerConfig,
    total_steps: int,
) -> TrainingState:
    """An optimizer, linear warm-up and cosine decay to zero, and an average of the weights.

    Args:
        accelerator: Prepares them.
        denoiser: On the accelerator's device.
        config: Its numbers; the average has diffusers' warm-up.
        total_steps: Steps to a learning rate of zero.
    """
    optimizer = make_optimizer(denoiser, config)
    lr_scheduler = get_cosine_schedule_with_warmup(optimizer, config.warmup_steps, total_steps)
    ema = EMAModel(denoiser.parameters(), decay=config.ema_decay, foreach=True) if config.ema_decay else None
    denoiser, optimizer, lr_scheduler = accelerator.prepare(denoiser, optimizer, lr_scheduler)
    return TrainingState(accelerator, denoiser, optimizer, lr_scheduler, ema)
