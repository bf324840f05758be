"""What a training run holds in memory, and the states on disk that it resumes from.

    runs/NAME/states/step_0000500/   everything that is needed to continue exactly

A state is written under a temporary name, flushed to the disk and renamed. Older ones are deleted only after that, so
no crash can destroy the last good state. No pickled code is run: weights are safetensors, and the rest is read with
`weights_only=True`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from accelerate import Accelerator
from diffusers.training_utils import EMAModel
from safetensors.torch import save_file
from transformers import get_cosine_schedule_with_warmup

from lab_ddpm.diffusion.denoiser import Denoiser
from lab_ddpm.tools.checksums import check_sums, write_sums
from lab_ddpm.tools.errors import DataError, UserError, first_line
from lab_ddpm.tools.files import atomic_path, remove
from lab_ddpm.tools.weights import naming_disk_errors, read_weights
from lab_ddpm.training.config import OptimizerConfig
from lab_ddpm.training.optimizer import make_optimizer
from lab_ddpm.training.progress import Progress, read_progress, step_name, write_progress

_KEPT = 2


class TrainingState:
    """A model in training, with everything that a step changes.

    The learning rate rises linearly, then falls along a cosine to 0 at `total_steps`. The average of the weights has
    diffusers' warm-up.

    Attributes:
        model, optimizer, lr_scheduler: As accelerate wrapped them.
        ema: The average of the weights; None for none.
        progress: How far the run is.
        total_steps: The steps of the whole run.
    """

    def __init__(
        self,
        accelerator: Accelerator,
        folder: Path,
        denoiser: Denoiser,
        settings: OptimizerConfig,
        total_steps: int,
    ) -> None:
        self.accelerator, self.folder, self.progress = accelerator, folder, Progress()
        self.total_steps = total_steps
        denoiser.to(accelerator.device)
        optimizer = make_optimizer(denoiser, settings)
        lr_scheduler = get_cosine_schedule_with_warmup(optimizer, settings.warmup_steps, total_steps)
        decay = settings.ema_decay
        self.ema = EMAModel(denoiser.parameters(), decay=decay, foreach=True) if decay else None
        self.model, self.optimizer, self.lr_scheduler = accelerator.prepare(denoiser, optimizer, lr_scheduler)
        self._first_bad_step = torch.zeros((), dtype=torch.long, device=accelerator.device)  # 0 if all were finite

    @property
    def denoiser(self) -> Denoiser:
        """The model itself, without the wrapper."""
        return self.accelerator.unwrap_model(self.model)

    @contextmanager
    def averaged_weights(self) -> Iterator[Denoiser]:
        """Inside the block, the denoiser is in evaluation mode and has its averaged weights, if there is an average."""
        denoiser, parameters = self.denoiser.eval(), list(self.model.parameters())
        if self.ema is not None:
            self.ema.store(parameters)
            self.ema.copy_to(parameters)
        try:
            yield denoiser
        finally:
            if self.ema is not None:
                self.ema.restore(parameters)
            denoiser.train()

    def watch(self, value: torch.Tensor | float) -> None:
        """Remember the current step if a value is not finite. To read it at once would make a GPU wait."""
        is_first = (self._first_bad_step == 0) & ~torch.as_tensor(value).detach().isfinite()
        self._first_bad_step = torch.where(is_first, self.progress.step + 1, self._first_bad_step)

    def clip_gradients(self, max_norm: float) -> None:
        """Scale the gradients down to a norm over all weights, and watch it."""
        norm = self.accelerator.clip_grad_norm_(self.model.parameters(), max_norm)
        if self.accelerator.scaler is None and norm is not None:  # the scaler of fp16 skips infinite gradients itself
            self.watch(norm)

    def average_weights(self) -> None:
        """Update the average with the weights of a new step."""
        if self.ema is not None:
            self.ema.step(self.model.parameters())

    def check_finite(self) -> None:
        """Raise `DataError` if a watched value of any process was not finite."""
        steps = self.accelerator.gather(self._first_bad_step.reshape(1)).tolist()  # pyright: ignore
        if bad := min((step for step in steps if step), default=0):
            raise DataError(
                f"the loss or its gradient is infinite or not a number at step {bad}: stopped; the last good state is "
                f"kept in {self.folder / 'states'}. A lower `--optimizer.learning_rate` under another `--name` usually "
                "helps"
            )

    def save(self) -> None:
        """Write `states/step_N`, then delete all but the newest two. All processes call it.

        Raises:
            DataError: A watched value was not finite, or the folder of the run is gone.
        """
        self.check_finite()
        if self.accelerator.is_main_process:
            if not (self.folder / "config.yaml").is_file():  # half a run would start in its place
                raise DataError(f"{self.folder}: the folder of the run is gone")
            target = self.folder / "states" / step_name(self.progress.step)
            if target.exists():  # the weights are the same, but the step may have been evaluated since
                write_progress(target, self.progress)
            else:
                self._write(target)
            for old in sorted(target.parent.glob("step_*"))[:-_KEPT]:
                remove(old)
        self.accelerator.wait_for_everyone()

    def _write(self, target: Path) -> None:
        scaler = self.accelerator.scaler
        rest = {
            "optimizer": self.optimizer.state_dict(),
            "lr_scheduler": self.lr_scheduler.state_dict(),
            "scaler": None if scaler is None else scaler.state_dict(),
            "ema": None if self.ema is None else self.ema.state_dict(),
        }
        with naming_disk_errors(target), atomic_path(target) as temporary:
            temporary.mkdir()
            contiguous = {name: value.contiguous() for name, value in self.denoiser.state_dict().items()}
            save_file(contiguous, temporary / "denoiser.safetensors")
            torch.save(rest, temporary / "training.pt")
            write_sums(temporary, ["denoiser.safetensors", "training.pt"])
            write_progress(temporary, self.progress)

    def load(self, data: str) -> None:
        """Restore the newest state of the run, if there is one. `data` is the fingerprint of the images and labels.

        Raises:
            DataError: The state is broken.
            UserError: The state is of other images or labels.
        """
        folder = newest_state(self.folder)
        if folder is not None:
            with _naming_state(folder):
                self.progress = read_progress(folder)
            if self.progress.data != data:
                raise UserError(f"{self.folder} was trained on other images or labels; choose another `--name`")
            with _naming_state(folder):
                self._read(folder)
        self.progress.data = data

    def _read(self, folder: Path) -> None:
        check_sums(folder)
        weights, rest = read_weights(folder / "denoiser.safetensors"), read_weights(folder / "training.pt")
        self.denoiser.load_state_dict(weights)
        self.optimizer.load_state_dict(rest["optimizer"])
        self.lr_scheduler.load_state_dict(rest["lr_scheduler"])
        if self.accelerator.scaler is not None and rest["scaler"] is not None:
            self.accelerator.scaler.load_state_dict(rest["scaler"])
        if self.ema is not None:
            self.ema.load_state_dict(rest["ema"])
            self.ema.to(self.accelerator.device)


@contextmanager
def _naming_state(state: Path) -> Iterator[None]:
    try:
        yield
    except (DataError, OSError, RuntimeError, KeyError, TypeError, ValueError) as error:
        raise DataError(
            f"{state}: the run cannot resume from this state ({first_line(error)}); remove the folder to resume from "
            "the state before it"
        ) from None


def newest_state(run: Path) -> Path | None:
    """Folder of the newest state of a run, if there is one."""
    return max((run / "states").glob("step_*"), default=None)
