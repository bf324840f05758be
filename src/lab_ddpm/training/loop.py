"""A training run, in the order in which things happen.

The same command again resumes a run from its newest state. On one CPU process it gives bit for bit the weights of a run
that was never stopped: the random numbers of a sample depend only on its position in the stream (`data.batches`), and
everything else is saved in the state (`state`).
"""

from __future__ import annotations

import signal
from pathlib import Path

from lab_ddpm.diffusion.loss import DenoisingLoss
from lab_ddpm.tools.interruption import Interrupted, stop_signals
from lab_ddpm.training.accelerator import make_accelerator
from lab_ddpm.training.config import TrainConfig
from lab_ddpm.training.initial_weights import take_weights
from lab_ddpm.training.log import TrainingLog
from lab_ddpm.training.model import fit_outlines_and_clusters, seeded_denoiser
from lab_ddpm.training.processes import is_asked_to_stop
from lab_ddpm.training.run_folder import claim_run_folder, write_settings
from lab_ddpm.training.state import TrainingState, newest_state
from lab_ddpm.training.stream import count_steps, open_images, open_stream
from lab_ddpm.training.trial import settle_micro_batches
from lab_ddpm.training.validation import Validation


def train(config: TrainConfig) -> Path:
    """Train from the newest state of a run, or from its start, to its end.

    Returns:
        The folder of the run: `runs_dir/name`.

    Raises:
        UserError: Settings that do not fit each other, this machine, the images or the run in the folder.
        DataError: Images or states that cannot be used, or a loss that is not finite.
        Interrupted: On SIGTERM or SIGINT, after saving.
    """
    accelerator = make_accelerator(config)  # device, precision, processes
    with claim_run_folder(config, accelerator) as folder:
        images = open_images(config, accelerator)
        config = settle_micro_batches(config, images, accelerator, folder)
        if accelerator.is_main_process:
            write_settings(config, folder)
        steps_per_epoch, total_steps = count_steps(config, len(images))

        # the model, and what changes it
        denoiser = seeded_denoiser(config, images)
        if newest_state(folder) is None:
            fit_outlines_and_clusters(denoiser, images)
            if config.init_from is not None:
                take_weights(denoiser, config.init_from)
        state = TrainingState(accelerator, folder, denoiser, config.optimizer, total_steps)
        state.load(images.fingerprint())
        model, progress = state.model, state.progress

        # the samples of the steps that are still to come
        steps = range(progress.step, total_steps)
        loader, make_batch = open_stream(config, images, denoiser, accelerator.device, steps)

        # what is measured, learnt and logged
        validation = Validation(config, images, state, steps_per_epoch)
        loss = DenoisingLoss(**config.loss)
        log = TrainingLog(config, state, steps_per_epoch)
        validation.keep_pipelines()  # finish what a crash may have left undone
        with stop_signals("stopping as soon as the state can be saved") as signals, log.bar():
            validation.validate_if_due(log, signals)  # the run may have stopped between a step and its evaluation
            log.restart_clock()
            for loaded in accelerator.prepare_data_loader(loader):
                with log.working(), accelerator.accumulate(model):
                    terms = loss(model, make_batch(loaded))
                    total = sum(terms.values())
                    state.watch(total)
                    accelerator.backward(total)
                    if accelerator.sync_gradients:
                        state.clip_gradients(config.optimizer.max_grad_norm)
                    learning_rate = state.lr_scheduler.get_last_lr()[0]
                    state.optimizer.step()
                    state.lr_scheduler.step()
                    state.optimizer.zero_grad()
                log.note_terms(terms)
                if not accelerator.sync_gradients:  # a micro-batch that is not the last of its batch
                    continue
                state.average_weights()
                progress.step += 1
                is_logged = progress.step % config.log_every_steps == 0
                if is_logged:
                    state.check_finite()
                log.step_done(learning_rate)
                if is_asked_to_stop(accelerator, signals, is_logged):
                    state.save()
                    raise Interrupted(signals[0] if signals else signal.SIGTERM, f"step {progress.step}")
                is_saved = validation.validate_if_due(log, signals)
                if not is_saved and progress.step % config.save_every_steps == 0:
                    state.save()
                log.restart_clock()
    accelerator.end_training()
    return folder
