"""Try training steps and discard them: to time a step, and to find the fewest micro-batches that fit into memory.

A process tries alone, on its share of a micro-batch. If several tried together and one ran out of memory, the others
would wait for it forever.
"""

from __future__ import annotations

import dataclasses
import sys
import time
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.utils import find_executable_batch_size, release_memory, send_to_device
from diffusers.training_utils import EMAModel

from lab_ddpm.data.image_dataset import ImageDataset
from lab_ddpm.diffusion.loss import DenoisingLoss
from lab_ddpm.tools.errors import UserError
from lab_ddpm.training.accelerator import check_micro_batch
from lab_ddpm.training.config import TrainConfig
from lab_ddpm.training.model import seeded_denoiser
from lab_ddpm.training.optimizer import make_optimizer
from lab_ddpm.training.run_folder import begun_with
from lab_ddpm.training.stream import open_stream

_STEPS_THAT_FILL = 2  # the first one creates the state of the optimizer


def trial_steps(config: TrainConfig, images: ImageDataset, accelerator: Accelerator) -> Iterator[float]:
    """Train a new model on the first batches of the stream, and yield the seconds of each step."""
    device, count = accelerator.device, config.num_micro_batches
    denoiser = seeded_denoiser(config, images).to(device)
    optimizer = make_optimizer(denoiser, config.optimizer)
    ema = EMAModel(denoiser.parameters(), foreach=True) if config.optimizer.ema_decay else None
    model = accelerator.prepare_model(denoiser, evaluation_mode=True)  # with its precision, but for this process alone
    loss = DenoisingLoss(**config.loss)
    samples, make_batch = open_stream(
        config, images, denoiser, device, range(sys.maxsize // count), accelerator.num_processes
    )
    batches = iter(samples)
    while True:
        started = time.perf_counter()
        for loaded in islice(batches, count):
            terms = loss(model, make_batch(send_to_device(loaded, device, non_blocking=True)))
            (torch.stack(list(terms.values())).sum() / count).backward()
        torch.nn.utils.clip_grad_norm_(denoiser.parameters(), config.optimizer.max_grad_norm)
        optimizer.step()
        optimizer.zero_grad()
        if ema is not None:
            ema.step(denoiser.parameters())
        if device.type == "cuda":
            torch.cuda.synchronize()
        yield time.perf_counter() - started


def first_steps(seconds_of_steps: Iterable[float], seconds: float, most: int | None = None) -> list[float]:
    """The seconds of the steps that together take so many seconds, or of the first `most` of them."""
    times = []
    for taken in islice(seconds_of_steps, most):
        times.append(taken)
        if sum(times) >= seconds:
            break
    return times


def fitting_micro_batches(config: TrainConfig, images: ImageDataset, accelerator: Accelerator) -> int:
    """The fewest micro-batches with which a step fits into the memory of every process. All processes call it.

    Raises:
        UserError: A step of one image does not fit.
    """
    share = config.batch_size // accelerator.num_processes
    most = len(images) // accelerator.num_processes  # a micro-batch may not exceed the data set
    sizes = iter([size for size in range(min(share, most), 0, -1) if share % size == 0] + [0])

    def attempt(size: int) -> int:
        tried = dataclasses.replace(config, gradient_accumulation_steps=share // size)
        for _ in islice(trial_steps(tried, images, accelerator), _STEPS_THAT_FILL):
            pass
        return share // size

    try:
        count = find_executable_batch_size(attempt, next(sizes), lambda: next(sizes))()
    except RuntimeError as error:
        if "reached zero" not in str(error):
            raise
        raise UserError("`model` must be smaller: a step of one image does not fit into memory") from None
    release_memory()
    torch.compiler.reset()  # what it learnt from the sizes that were tried
    return int(accelerator.gather(torch.tensor([count], device=accelerator.device)).max())  # pyright: ignore


def settle_micro_batches(config: TrainConfig, images: ImageDataset, accelerator: Accelerator, run: Path) -> TrainConfig:
    """The config, and the accelerator, with a number in place of the "auto" of `gradient_accumulation_steps`.

    All processes call it. A run that is continued keeps its number.

    Raises:
        UserError: A step of one image does not fit into memory.
    """
    if config.gradient_accumulation_steps == "auto":
        count = begun_with(run).get("gradient_accumulation_steps")
        count = count or fitting_micro_batches(config, images, accelerator)
        accelerator.print(f"`gradient_accumulation_steps` is {count}: {config.batch_size // count} images at a time")
        config = dataclasses.replace(config, gradient_accumulation_steps=count)
        check_micro_batch(config, accelerator)
        accelerator.gradient_accumulation_steps = count
    return config
