"""What a run says while it trains: the progress bar, the lines of metrics.jsonl, and the printed scores."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator
from PIL import Image
from tqdm.auto import tqdm

from lab_ddpm.tools.metrics_log import append_record, rewind
from lab_ddpm.training.accelerator import cpu_preset
from lab_ddpm.training.config import TrainConfig
from lab_ddpm.training.progress import Progress, step_name
from lab_ddpm.training.step_timer import StepTimer
from lab_ddpm.training.trackers import report, report_image, start_trackers

_STEPS_TO_TIME = 5
_DAY = 86_400.0


class RunLog:
    """Of one run; the main process writes, and all must call.

    Args:
        config: Of the run.
        accelerator: Its accelerator.
        folder: Its folder.
        steps_per_epoch: As many.
    """

    def __init__(self, config: TrainConfig, accelerator: Accelerator, folder: Path, steps_per_epoch: int) -> None:
        self.config, self.accelerator, self.steps_per_epoch = config, accelerator, steps_per_epoch
        self.path = folder / "metrics.jsonl"
        self.total_steps = config.epochs * steps_per_epoch

    def rewind(self, progress: Progress) -> None:
        """Forget what the run will log again. For the main process only."""
        rewind(self.path, progress.step, progress.scores)

    def start(self, progress: Progress) -> None:
        """Say where the run is, and of one that begins, what it will not do."""
        start_trackers(self.accelerator, self.config, self.path.parent, progress.step)
        warmup_steps = self.config.optimizer.warmup_steps
        if progress.step in progress.scores and progress.step == self.total_steps:
            self.accelerator.print(f"{self.path.parent} is finished: all {self.total_steps} steps were done before")
        elif progress.step:
            self.accelerator.print(f"going on from step {progress.step} of {self.total_steps}")
        elif progress.metric == "none":
            self.accelerator.print("nothing scores these images: the newest pipeline will be best/")
        if not progress.step and warmup_steps >= self.total_steps:
            self.accelerator.print(
                f"`optimizer.warmup_steps` is {warmup_steps}, and the run has {self.total_steps} steps: the learning "
                "rate never gets to its peak"
            )

    @contextmanager
    def bar(self, progress: Progress) -> Iterator[None]:
        """A progress bar over the steps that are still to come."""
        self._bar = tqdm(
            total=self.total_steps,
            initial=progress.step,
            desc=self.config.name,
            unit="step",
            disable=not self.accelerator.is_main_process,
        )
        with self._bar:
            yield

    def step(self) -> None:
        """A step is done."""
        self._bar.update()

    def loss(
        self, progress: Progress, parts: Sequence[Mapping[str, torch.Tensor]], learning_rate: float, timer: StepTimer
    ) -> None:
        """Log the terms of the loss of the parts of a step, as means over the parts and the processes."""
        means = torch.stack([torch.stack(list(terms.values())) for terms in parts]).mean(dim=0)
        values = self.accelerator.reduce(means, "mean").tolist()  # pyright: ignore[reportAttributeAccessIssue]
        self._bar.set_postfix(loss=f"{sum(values):.4f}", refresh=False)
        self._append(
            progress,
            loss=sum(values),
            terms=dict(zip(parts[0], values, strict=True)),
            learning_rate=learning_rate,
            images_per_second=self.config.batch_size * timer.steps / timer.seconds,
            overhead=timer.overhead(),
        )

    def scores(self, progress: Progress, metric: str, scores: Mapping) -> None:
        """Log and print the scores of the pipeline that has just been evaluated."""
        best, *others = progress.best_steps(2)
        if best != progress.step:
            verdict = f"the best is still that of step {best}"
        elif others and progress.scores[others[0]] == progress.scores[best]:
            verdict = f"as good as that of step {others[0]}: best/ is the later one"
        else:
            verdict = "the best so far"
        self.accelerator.print(f"step {progress.step}: {metric} {scores[metric]['mean']:.4f}, {verdict}")
        self._append(progress, validation=scores)

    def samples(self, progress: Progress) -> None:
        """Show the grid of the evaluation that has just been done where the run is watched."""
        if self.accelerator.trackers:
            with Image.open(self.path.parent / "samples" / f"{step_name(progress.step)}.png") as grid:
                report_image(self.accelerator, "samples", np.asarray(grid.convert("RGB")), progress.step)

    def warn_if_slow(self, progress: Progress, timer: StepTimer) -> None:
        """After a few steps, say so if the rest takes days."""
        if timer.steps != _STEPS_TO_TIME:
            return
        seconds_per_step = timer.seconds / timer.steps
        days = (self.total_steps - progress.step) * seconds_per_step / _DAY
        if days > 1:
            preset = cpu_preset(self.config)
            hint = f"{preset} is made for machines without a GPU. " if preset else ""
            self.accelerator.print(
                f"At {seconds_per_step:.1f} s a step the rest of this run takes about {days:.0f} days on this machine. "
                f"{hint}Going on."
            )

    def _append(self, progress: Progress, **values: object) -> None:
        if self.accelerator.is_main_process:
            place = {"step": progress.step, "epoch": progress.step / self.steps_per_epoch, "seconds": progress.seconds}
            append_record(self.path, {**place, **values})
        report(self.accelerator, values, progress.step)
