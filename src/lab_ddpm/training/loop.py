"""The training loop, on Accelerate.

    each step:       loss = objective(unet(x_t, t, c), ...) over a batch of the stream;  AdamW;  EMA
    every N epochs:  sample the validation conditions, score them, save the pipeline, keep the best

The same command started again goes on from the newest checkpoint and gives, on one CPU process, bit for bit the
weights of a run that was never stopped: the randomness of a sample depends on its place in the stream alone
(`batches`), and everything else is in the checkpoint (`training_objects`).
"""

from __future__ import annotations

import math
import signal
import time
from dataclasses import asdict
from pathlib import Path

from accelerate import Accelerator
from accelerate.utils import set_seed
from diffusers import DDPMScheduler
from torch.utils.data import DataLoader
from tqdm.auto import tqdm

from lab_ddpm.checkpoint import Progress, keep_pipelines, save_pipeline
from lab_ddpm.config import TrainConfig
from lab_ddpm.data.batches import Sample, StreamDataset, StreamSampler
from lab_ddpm.data.dataset import open_training_pictures
from lab_ddpm.data.picture_cache import PictureDataset
from lab_ddpm.errors import DataError, UserError
from lab_ddpm.interruption import Interrupted, ignore_stop_signals, stop_signals
from lab_ddpm.metrics_log import append_record, rewind
from lab_ddpm.objective import Objective
from lab_ddpm.pipeline import LabelConditionalPipeline
from lab_ddpm.schedulers import TIMESTEP_SPACING
from lab_ddpm.training.accelerator import cpu_preset, make_accelerator
from lab_ddpm.training.run_folder import claim_run_folder
from lab_ddpm.training.step_timer import StepTimer
from lab_ddpm.training.training_objects import make_training_objects
from lab_ddpm.training.validation import Validation
from lab_ddpm.unet import LabelConditionalUNet

_STEPS_TO_TIME = 5
_DAY = 86_400.0


def train(config: TrainConfig) -> Path:
    """Train `config`, or go on with it, to its end.

    Returns:
        The folder of the run.

    Raises:
        UserError: Settings that do not fit each other, this machine or the run that is in the folder.
        DataError: Unusable pictures or checkpoints, or a loss that is not finite.
        Interrupted: On SIGTERM or SIGINT, after saving.
    """
    accelerator = make_accelerator(config)
    if (config.batch_size // config.gradient_accumulation_steps) % accelerator.num_processes:
        raise UserError(
            "`batch_size` / `gradient_accumulation_steps` must be a multiple of the number of processes, "
            f"got {config.batch_size} / {config.gradient_accumulation_steps} for {accelerator.num_processes}"
        )
    with claim_run_folder(config, accelerator.is_main_process) as run:
        _Run(config, accelerator, run).loop()
    accelerator.end_training()
    return run


class _Run:
    """The objects of one training run, and its loop."""

    def __init__(self, config: TrainConfig, accelerator: Accelerator, run: Path) -> None:
        self.config, self.accelerator, self.run = config, accelerator, run
        self.metrics = run / "metrics.jsonl"
        self.validation = Validation(config, run, accelerator.device)
        with accelerator.main_process_first():
            dataset = open_training_pictures(
                config.data.dataset, config.data.root, config.data.image_size, config.model.num_labels
            )
        self.fit = dataset.fit
        self.steps_per_epoch = math.ceil(len(dataset) / config.batch_size)
        self.total_steps = config.epochs * self.steps_per_epoch
        self.noise_scheduler = DDPMScheduler(**asdict(config.diffusion), timestep_spacing=TIMESTEP_SPACING)
        objective = asdict(config.objective)
        condition_dropout = objective.pop("condition_dropout")
        self.objective = Objective(self.noise_scheduler, **objective)
        self.objects = make_training_objects(
            accelerator,
            self._new_unet(dataset),
            config.optimizer.learning_rate,
            config.optimizer.weight_decay,
            config.optimizer.warmup_steps,
            self.total_steps,
            config.optimizer.ema_decay,
        )
        self.progress = self._go_on(dataset.fingerprint())
        self.loader = self._loader(StreamDataset(dataset, config.seed, condition_dropout, config.data.random_flip))

    def _new_unet(self, dataset: PictureDataset) -> LabelConditionalUNet:
        settings = asdict(self.config.model)
        del settings["num_labels"]
        set_seed(self.config.seed)
        return LabelConditionalUNet(
            labels=dataset.labels,
            sample_size=self.config.data.image_size,
            in_channels=dataset.pictures.shape[-1],
            **settings,
        ).to(self.accelerator.device)

    def _go_on(self, data: str) -> Progress:
        """Restore the newest checkpoint, if there is one."""
        progress = self.objects.load(self.run)
        if progress.step and progress.data != data:
            raise UserError(
                f"{self.run} was trained on other pictures or labels than {self.config.data.root} has now; "
                "choose another `--name`"
            )
        progress.data = data
        return progress

    def _loader(self, dataset: StreamDataset) -> DataLoader[Sample]:
        """The part of the stream that is still to come, in batches that accelerate splits over the processes."""
        parts = self.config.gradient_accumulation_steps
        sampler = StreamSampler(
            num_pictures=len(dataset.dataset),
            batch_size=self.config.batch_size // parts,
            seed=self.config.seed,
            first_batch=self.progress.step * parts,
            last_batch=self.total_steps * parts,
        )
        loader = DataLoader(
            dataset,
            batch_sampler=sampler,
            num_workers=self.config.data.num_workers,
            worker_init_fn=ignore_stop_signals,
        )
        return self.accelerator.prepare_data_loader(loader)

    def loop(self) -> None:
        """Train from the present step to the last, evaluating and saving on the way."""
        progress = self.progress
        if self.accelerator.is_main_process:
            rewind(self.metrics, progress.step, progress.scores)
            keep_pipelines(self.run, progress, self.config.evaluation.keep)
        if progress.step in progress.scores and progress.step == self.total_steps:
            self.accelerator.print(f"{self.run} is finished: all {self.total_steps} steps were done before")
        elif progress.step:
            self.accelerator.print(f"going on from step {progress.step} of {self.total_steps}")
        bar = tqdm(
            total=self.total_steps,
            initial=progress.step,
            desc=self.config.name,
            unit="step",
            disable=not self.accelerator.is_main_process,
        )
        announcement = "stopping at the next step"
        if self.accelerator.num_processes > 1:
            announcement += ", or when all processes have sampled"
        with stop_signals(announcement if self.accelerator.is_local_main_process else None) as received, bar:
            self._evaluate_if_due(received)
            timer, losses = StepTimer(), []
            for batch in self.loader:
                with timer.busy():
                    losses.append(self._forward_backward(batch))
                if not self.accelerator.sync_gradients:
                    continue
                if self.objects.ema is not None:
                    self.objects.ema.step(self.objects.unet.parameters())
                progress.step += 1
                progress.seconds += timer.step_done()
                bar.set_postfix(loss=f"{sum(losses) / len(losses):.4f}", refresh=False)
                bar.update()
                if progress.step % self.config.log_every_steps == 0:
                    self._log(sum(losses) / len(losses), timer)
                losses.clear()
                if timer.steps == _STEPS_TO_TIME:
                    self._warn_if_slow(timer.seconds / timer.steps)
                if received:
                    self.accelerator.set_trigger()
                if self.accelerator.check_trigger():  # of any process
                    self._save()
                    raise Interrupted(received[0] if received else signal.SIGTERM, f"step {progress.step}")
                self._evaluate_if_due(received)
                if progress.step % self.config.checkpoint_every_steps == 0 or progress.step == self.total_steps:
                    self._save()
                timer.restart()

    def _forward_backward(self, batch: Sample) -> float:
        """One part of a step: loss, gradients and, at the last, the update; returns the loss over all processes."""
        objects, accelerator = self.objects, self.accelerator
        with accelerator.accumulate(objects.unet):
            timesteps = self.objective.timesteps(batch["uniforms"])
            noisy_images = self.objective.add_noise(batch["clean_images"], batch["noise"], timesteps)
            with accelerator.autocast():
                prediction = objects.unet(noisy_images, timesteps, batch["class_labels"])
            loss = self.objective(prediction, batch["clean_images"], batch["noise"], timesteps)
            value = float(accelerator.reduce(loss.detach(), "mean"))  # pyright: ignore[reportArgumentType]
            self._check_finite("loss", value)
            accelerator.backward(loss)
            if accelerator.sync_gradients:
                norm = accelerator.clip_grad_norm_(objects.unet.parameters(), self.config.optimizer.max_grad_norm)
                if accelerator.scaler is None:  # the fp16 scaler skips steps with infinite gradients by itself
                    self._check_finite("gradient norm", float(norm))  # pyright: ignore[reportArgumentType]
            objects.optimizer.step()
            objects.lr_scheduler.step()
            objects.optimizer.zero_grad()
        return value

    def _check_finite(self, name: str, value: float) -> None:
        if not math.isfinite(value):
            raise DataError(
                f"the {name} is {value} at step {self.progress.step + 1}: stopped; the last good checkpoint is kept in "
                f"{self.run / 'checkpoints'}. A lower `--optimizer.learning_rate` under another `--name` usually helps"
            )

    def _evaluate_if_due(self, received: list[int]) -> None:
        step = self.progress.step
        period = self.config.evaluation.every_epochs * self.steps_per_epoch
        if step == 0 or step in self.progress.scores or (step % period and step != self.total_steps):
            return
        self._save()  # so that whatever ends the evaluation costs no step
        started = time.perf_counter()
        settings = self.config.evaluation

        def stop_if_asked() -> None:
            if received and self.accelerator.num_processes == 1:  # several must sample to the end together
                raise Interrupted(received[0], f"step {step}")

        unet = self.accelerator.unwrap_model(self.objects.unet)
        pipeline = LabelConditionalPipeline(
            unet, self.noise_scheduler, settings.guidance_scale, self.config.objective.condition_dropout, self.fit
        )
        with self.objects.averaged_weights():
            unet.eval()
            scores = self.validation(pipeline, step, stop_if_asked)
            unet.train()
            if self.accelerator.is_main_process:
                save_pipeline(pipeline, self.run, step)
        # without a score all are equal, and of equal ones the newest is the best
        self.progress.scores[step] = scores[settings.metric]["mean"] if scores and settings.metric != "none" else 0.0
        self.progress.seconds += time.perf_counter() - started
        if scores:
            best = self.progress.best_steps(1)[0]
            self.accelerator.print(
                f"step {step}: {settings.metric} on {settings.split} {self.progress.scores[step]:.4f} "
                f"(best {self.progress.scores[best]:.4f} at step {best})"
            )
            if self.accelerator.is_main_process:
                append_record(self.metrics, self._record(validation=scores))
        self._save()
        if self.accelerator.is_main_process:
            keep_pipelines(self.run, self.progress, settings.keep)

    def _save(self) -> None:
        if self.accelerator.is_main_process:
            self.objects.save(self.run, self.progress)
        self.accelerator.wait_for_everyone()

    def _log(self, loss: float, timer: StepTimer) -> None:
        if self.accelerator.is_main_process:
            record = self._record(
                loss=loss,
                learning_rate=self.objects.lr_scheduler.get_last_lr()[0],
                pictures_per_second=self.config.batch_size * timer.steps / timer.seconds,
                overhead=timer.overhead(),
            )
            append_record(self.metrics, record)

    def _record(self, **values: object) -> dict[str, object]:
        step = self.progress.step
        return {
            "step": step,
            "epoch": step / self.steps_per_epoch,
            "seconds": self.progress.seconds,
            **values,
        }

    def _warn_if_slow(self, seconds_per_step: float) -> None:
        days = (self.total_steps - self.progress.step) * seconds_per_step / _DAY
        if days > 1:
            preset = cpu_preset(self.config)
            hint = f"{preset} is made for machines without a GPU. " if preset else ""
            self.accelerator.print(
                f"At {seconds_per_step:.1f} s a step the rest of this run takes about {days:.0f} days on this machine. "
                f"{hint}Going on."
            )
