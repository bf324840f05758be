"""What a run reports while it trains: the progress bar, the lines of metrics.jsonl, and the printed scores."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from PIL import Image
from tqdm.auto import tqdm

from lab_ddpm.training.config import TrainConfig
from lab_ddpm.training.metrics_log import append_record, rewind
from lab_ddpm.training.progress import step_name
from lab_ddpm.training.state import TrainingState
from lab_ddpm.training.trackers import report, report_image, start_trackers

_STEPS_TO_TIME = 5
_DAY = 86_400.0


class TrainingLog:
    """The log of one run. All processes call it, and the main process writes.

    Lines after the step of `state`, which is already loaded, are deleted: they will be logged again.
    """

    def __init__(self, config: TrainConfig, state: TrainingState, steps_per_epoch: int) -> None:
        self.config, self.steps_per_epoch = config, steps_per_epoch
        self.accelerator, self.progress, self.folder = state.accelerator, state.progress, state.folder
        self.path, self.total_steps = state.folder / "metrics.jsonl", state.total_steps
        if state.accelerator.is_main_process:
            rewind(self.path, state.progress.step, state.progress.scores)
            start_trackers(config, state.accelerator, state.folder, state.progress.step)
        self._terms: list[dict[str, torch.Tensor]] = []  # of each micro-batch of the current step
        self._steps, self._seconds, self._busy = 0, 0.0, 0.0
        self._mark = time.perf_counter()

    @contextmanager
    def bar(self) -> Iterator[None]:
        """Print how far the run is, and show a progress bar over the remaining steps."""
        step, warmup_steps, tell = self.progress.step, self.config.optimizer.warmup_steps, self.accelerator.print
        if step in self.progress.scores and step == self.total_steps:
            tell(f"{self.folder} is finished: all {self.total_steps} steps are done")
        elif step:
            tell(f"continuing from step {step} of {self.total_steps}")
        elif self.progress.metric == "none":
            tell("no classifier or metric scores these images: best/ will be the newest pipeline")
        if not step and warmup_steps >= self.total_steps:
            tell(
                f"`optimizer.warmup_steps` is {warmup_steps}, and the run has {self.total_steps} steps: the learning "
                "rate never reaches its peak"
            )
        disable = not self.accelerator.is_main_process
        name = self.config.name
        with tqdm(total=self.total_steps, initial=step, desc=name, unit="step", disable=disable) as self._bar:
            yield

    def restart_clock(self) -> None:
        """Exclude the time since the last step (an evaluation, a save) from the next step's time."""
        self._mark = time.perf_counter()

    @contextmanager
    def working(self) -> Iterator[None]:
        """Count the time of the block as work. The rest of a step's time is overhead."""
        started = time.perf_counter()
        yield
        self._busy += time.perf_counter() - started

    def note_terms(self, terms: Mapping[str, torch.Tensor]) -> None:
        """Remember the loss terms of one micro-batch of the current step."""
        self._terms.append({name: term.detach() for name, term in terms.items()})

    def step_done(self, learning_rate: float) -> None:
        """Measure the time of a step, and log the step if it is due."""
        self._bar.update()
        now = time.perf_counter()
        self.progress.seconds += now - self._mark
        self._seconds += now - self._mark
        self._mark = now
        self._steps += 1
        if self.progress.step % self.config.log_every_steps == 0 or self.progress.step == self.total_steps:
            self._append_loss(learning_rate)
        self._terms.clear()
        if self._steps == _STEPS_TO_TIME:
            self._warn_if_slow(self._seconds / self._steps)

    def _append_loss(self, learning_rate: float) -> None:
        """Log the terms of the loss, as means over the micro-batches of the step and the processes."""
        means = torch.stack([torch.stack(list(terms.values())) for terms in self._terms]).mean(dim=0)
        values = self.accelerator.reduce(means, "mean").tolist()  # pyright: ignore[reportAttributeAccessIssue]
        self._bar.set_postfix(loss=f"{sum(values):.4f}", refresh=False)
        self._append(
            loss=sum(values),
            terms=dict(zip(self._terms[0], values, strict=True)),
            learning_rate=learning_rate,
            images_per_second=self.config.batch_size * self._steps / self._seconds,
            overhead=1 - self._busy / self._seconds,
        )

    def validated(self, scores: Mapping[str, Any]) -> None:
        """Report the evaluation that has just been done: its grid to the trackers, its scores to the log and screen."""
        progress, metric = self.progress, self.progress.metric
        if self.accelerator.trackers:
            with Image.open(self.folder / "samples" / f"{step_name(progress.step)}.png") as grid:
                report_image(self.accelerator, "samples", np.asarray(grid.convert("RGB")), progress.step)
        if not scores:
            return
        (best,) = progress.best_steps(1)
        verdict = "the best so far" if best == progress.step else f"the best is still that of step {best}"
        self.accelerator.print(f"step {progress.step}: {metric} {scores[metric]['mean']:.4f}, {verdict}")
        self._append(validation=scores)

    def _warn_if_slow(self, seconds_per_step: float) -> None:
        days = (self.total_steps - self.progress.step) * seconds_per_step / _DAY
        if days > 1:
            on_gpu, is_for_gpu = self.accelerator.device.type == "cuda", self.config.model["patch_size"] == 1
            hint = "" if on_gpu or not is_for_gpu else "configs/*_cpu.yaml are made for machines without a GPU. "
            self.accelerator.print(
                f"At {seconds_per_step:.1f} s a step the rest of this run takes about {days:.0f} days on this machine. "
                f"{hint}Continuing."
            )

    def _append(self, **values: object) -> None:
        step, progress = self.progress.step, self.progress
        if self.accelerator.is_main_process:
            when = {"step": step, "epoch": step / self.steps_per_epoch, "seconds": progress.seconds}
            append_record(self.path, {**when, **values})
        report(self.accelerator, values, step)
