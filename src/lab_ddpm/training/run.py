"""A training run: what it consists of, what is due after each step, and where it goes on.

Started again a run goes on from its newest state and gives, on one CPU process, bit for bit the weights of a run that
was never stopped: the randomness of a sample depends on its place in the stream alone (`data.batches`), and everything
else is in the state (`state`).
"""

from __future__ import annotations

import math
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from accelerate import Accelerator
from torch.utils.data import DataLoader

from lab_ddpm.data.batches import Sample, StreamDataset, StreamSampler, image_weights
from lab_ddpm.data.dataset import open_training_images
from lab_ddpm.diffusion.denoiser import Loss
from lab_ddpm.diffusion.pipeline import LabelConditionalPipeline
from lab_ddpm.diffusion.schedulers import make_scheduler
from lab_ddpm.tools.errors import DataError, UserError
from lab_ddpm.tools.interruption import Interrupted, ignore_stop_signals, stop_signals
from lab_ddpm.training.accelerator import make_accelerator
from lab_ddpm.training.config import TrainConfig
from lab_ddpm.training.initial_weights import take_weights
from lab_ddpm.training.model import make_denoiser
from lab_ddpm.training.progress import Progress, keep_pipelines, save_pipeline
from lab_ddpm.training.run_folder import claim_run_folder
from lab_ddpm.training.run_log import RunLog
from lab_ddpm.training.selection import make_selection
from lab_ddpm.training.state import make_training_state, newest_progress, newest_state
from lab_ddpm.training.step_timer import StepTimer
from lab_ddpm.training.validation import Validation


@contextmanager
def open_run(config: TrainConfig) -> Iterator[Run]:
    """Start the run of `config`, or go on with it; its folder is kept from other processes within the block.

    Raises:
        UserError: Settings that do not fit each other, this machine or the run that is in the folder.
        DataError: Unusable images or states, or a loss that is not finite.
        Interrupted: On SIGTERM or SIGINT, after saving.
    """
    accelerator = make_accelerator(config)
    if (config.batch_size // config.gradient_accumulation_steps) % accelerator.num_processes:
        raise UserError(
            "`batch_size` / `gradient_accumulation_steps` must be a multiple of the number of processes, "
            f"got {config.batch_size} / {config.gradient_accumulation_steps} for {accelerator.num_processes}"
        )
    announcement = "stopping at the next step"
    if accelerator.num_processes > 1:
        announcement += ", or when all processes have sampled"
    with claim_run_folder(config, accelerator.is_main_process) as folder:
        run = Run(config, accelerator, folder)
        with (
            stop_signals(announcement if accelerator.is_local_main_process else None) as run.signals,
            run.log.bar(run.progress),
        ):
            yield run
    accelerator.end_training()


class Run:
    """A denoiser in training.

    Attributes:
        folder: What the run writes is there.
        accelerator: Of accelerate: devices, precision, processes.
        denoiser: Wrapped by the accelerator: batch -> `Loss`.
        signals: Those that have asked it to stop, see `stop_signals`.
    """

    def __init__(self, config: TrainConfig, accelerator: Accelerator, folder: Path) -> None:
        self.config, self.accelerator, self.folder = config, accelerator, folder
        self.signals: list[int] = []
        with accelerator.main_process_first():
            self.dataset = open_training_images(
                config.data.dataset,
                config.data.root,
                config.data.image_size,
                config.model.conditional,
                with_masks=config.model.layout_scale > 0,
            )
        if config.batch_size > len(self.dataset):
            raise UserError(
                f"`batch_size` must be at most {len(self.dataset)}, the number of images in {config.data.root}, "
                f"got {config.batch_size}"
            )
        self._image_weights = image_weights(self.dataset, config.data.count_weights, config.data.same_first_word_weight)
        self.steps_per_epoch = math.ceil(len(self.dataset) / config.batch_size)
        self.total_steps = config.epochs * self.steps_per_epoch
        denoiser = make_denoiser(config, self.dataset)
        if config.init_from is not None and newest_state(folder) is None:
            take_weights(denoiser, config.init_from)
        denoiser.to(accelerator.device)
        make_scheduler(config.evaluation.scheduler, denoiser)  # if it does not fit, better now than in an hour
        self.state = make_training_state(accelerator, denoiser, config.optimizer, self.total_steps)
        self.denoiser = self.state.denoiser
        self.log = RunLog(config, accelerator, folder, self.steps_per_epoch)
        self.progress = self._go_on()
        self.validation = Validation(self.selection, config.seed, folder)
        self._terms: list[dict[str, torch.Tensor]] = []  # of the parts of this step
        self._first_bad_step = torch.zeros((), dtype=torch.long, device=accelerator.device)  # 0 while all is finite

    def _go_on(self) -> Progress:
        """Restore the newest state, if there is one, and what belongs to it; say where the run is."""
        progress, data = newest_progress(self.folder), self.dataset.fingerprint()
        if progress.step and progress.data != data:
            raise UserError(
                f"{self.folder} was trained on other images or labels than {self.config.data.root} has now; "
                "choose another `--name`"
            )
        self.state.load(self.folder)
        self.selection = make_selection(
            self.config, self.dataset, self.accelerator.device, progress.metric, progress.classifier
        )
        progress.data = data
        progress.metric, progress.classifier = self.selection.metric, self.selection.classifier_hash
        if self.accelerator.is_main_process:
            self.log.rewind(progress)
            keep_pipelines(self.folder, progress, self.config.evaluation.keep)
        self.log.start(progress)
        return progress

    def batches(self) -> Iterator[Sample]:
        """The part of the stream that is still to come, on this process's device; processes share each batch."""
        config, parts = self.config, self.config.gradient_accumulation_steps
        stream = StreamSampler(
            weights=self._image_weights,
            batch_size=config.batch_size // parts,
            seed=config.seed,
            first_batch=self.progress.step * parts,
            last_batch=self.total_steps * parts,
        )
        sample_shape = self.accelerator.unwrap_model(self.denoiser).space.shape
        loader: DataLoader[Sample] = DataLoader(
            StreamDataset(self.dataset, config.seed, sample_shape, config.data.random_flip),
            batch_sampler=stream,
            num_workers=config.data.num_workers,
            worker_init_fn=ignore_stop_signals,
        )
        self._evaluate_if_due()  # the run may have been stopped just before
        self._timer = StepTimer()
        for batch in self.accelerator.prepare_data_loader(loader):
            self._timer.work_begins()
            yield batch

    def update(self, loss: Loss) -> None:
        """Go backward from the loss of a part; at the last part of a step change the weights and do what is due."""
        accelerator, state, progress = self.accelerator, self.state, self.progress
        self._terms.append({name: term.detach() for name, term in loss.terms.items()})
        total = loss.total
        finite = total.detach().isfinite()
        accelerator.backward(total)
        if accelerator.sync_gradients:
            norm = accelerator.clip_grad_norm_(self.denoiser.parameters(), self.config.optimizer.max_grad_norm)
            if accelerator.scaler is None:  # the fp16 scaler skips steps with infinite gradients by itself
                finite &= torch.as_tensor(norm).isfinite()
        is_first = (self._first_bad_step == 0) & ~finite
        self._first_bad_step = torch.where(is_first, progress.step + 1, self._first_bad_step)
        self._learning_rate = float(state.lr_scheduler.get_last_lr()[0])
        state.optimizer.step()
        state.lr_scheduler.step()
        state.optimizer.zero_grad()
        self._timer.work_ends()
        if not accelerator.sync_gradients:
            return
        if state.ema is not None:
            state.ema.step(self.denoiser.parameters())
        progress.step += 1
        self.log.step()
        self._after_step()
        self._terms.clear()

    def _after_step(self) -> None:
        timer, progress, config = self._timer, self.progress, self.config
        progress.seconds += timer.step_done()
        if progress.step % config.log_every_steps == 0:
            self._check_finite()
            self.log.loss(progress, self._terms, self._learning_rate, timer)
        self.log.warn_if_slow(progress, timer)
        if self._asked_to_stop():
            self._save()
            raise Interrupted(self.signals[0] if self.signals else signal.SIGTERM, f"step {progress.step}")
        self._evaluate_if_due()
        if progress.step % config.save_every_steps == 0 or progress.step == self.total_steps:
            self._save()
        timer.restart()

    def _asked_to_stop(self) -> bool:
        if self.accelerator.num_processes == 1:
            return bool(self.signals)
        if self.signals:
            self.accelerator.set_trigger()
        return self.accelerator.check_trigger()  # whether any process was

    def _evaluate_if_due(self) -> None:
        step, settings = self.progress.step, self.config.evaluation
        period = settings.every_epochs * self.steps_per_epoch
        if step == 0 or step in self.progress.scores or (step % period and step != self.total_steps):
            return
        self._save()  # so that whatever ends the evaluation costs no step
        started = time.perf_counter()

        def stop_if_asked() -> None:
            if self.signals and self.accelerator.num_processes == 1:  # several must sample to the end together
                raise Interrupted(self.signals[0], f"step {step}")

        denoiser = self.accelerator.unwrap_model(self.denoiser)
        pipeline = LabelConditionalPipeline(
            denoiser,
            settings.scheduler,
            settings.guidance_scale,
            self.dataset.fit,
            settings.steps,
            settings.guidance_stop,
        )
        with self.state.averaged_weights(), self.accelerator.autocast():
            denoiser.eval()
            scores = self.validation(pipeline, step, stop_if_asked)
            denoiser.train()
            if self.accelerator.is_main_process:
                save_pipeline(pipeline, self.folder, step)
        self.progress.scores[step] = self.selection.worth(scores)
        self.progress.seconds += time.perf_counter() - started
        self.log.samples(self.progress)
        if scores:
            self.log.scores(self.progress, self.selection.metric, scores)
        self._save()
        if self.accelerator.is_main_process:
            keep_pipelines(self.folder, self.progress, settings.keep)

    def _save(self) -> None:
        self._check_finite()
        if self.accelerator.is_main_process:
            if not (self.folder / "config.yaml").is_file():  # else a half run would begin in its place
                raise DataError(f"{self.folder}: the folder of the run is not there any more")
            self.state.save(self.folder, self.progress)
        self.accelerator.wait_for_everyone()

    def _check_finite(self) -> None:
        """Look at what every step takes note of: reading it at each would make a GPU wait."""
        steps = self.accelerator.gather(self._first_bad_step.reshape(1)).tolist()  # pyright: ignore
        if bad := min((step for step in steps if step), default=0):
            raise DataError(
                f"the loss or its gradient is infinite or not a number at step {bad}: stopped; the last good state is "
                f"kept in {self.folder / 'states'}. A lower `--optimizer.learning_rate` under another `--name` usually "
                "helps"
            )
