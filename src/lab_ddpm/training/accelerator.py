"""The device, the precision and the processes of a run, as one `accelerate.Accelerator`."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.utils import DataLoaderConfiguration, InitProcessGroupKwargs, parse_flag_from_env

from lab_ddpm.tools.errors import UserError, first_line
from lab_ddpm.tools.hardware import PROCESS_TIMEOUT, computes_in_bf16, uses_gpu
from lab_ddpm.training.config import TrainConfig


def check_machine(config: TrainConfig) -> None:
    """Raise `UserError` for a GPU, a precision or a tracker that this machine lacks, and for models in shards."""
    use_gpu = uses_gpu(config.device)
    if config.device == "cuda" and not use_gpu:
        raise UserError("`device` must be 'cpu' or 'auto' on this machine, got 'cuda': torch finds no GPU")
    if config.mixed_precision == "fp16" and not use_gpu:
        raise UserError("`mixed_precision` must be 'auto', 'no' or 'bf16' on a CPU, got 'fp16'")
    if config.trackers != "none" and find_spec(config.trackers) is None:
        raise UserError(f"`trackers` {config.trackers!r} is not installed: pip install {config.trackers}")
    for way in ("FSDP", "DEEPSPEED", "MEGATRON_LM"):
        if parse_flag_from_env(f"ACCELERATE_USE_{way}"):
            raise UserError(
                f"accelerate must not use {way}, which splits models: these fit on any GPU, so use `--multi_gpu`"
            )
    if os.environ.get("ACCELERATE_DYNAMO_BACKEND", "NO").upper() != "NO":  # it renames the weights in the states
        raise UserError("accelerate must not use a dynamo backend: use `--compile true`")


def _precision(config: TrainConfig) -> str:
    """What `mixed_precision` means here: "auto" is the fastest."""
    if config.mixed_precision != "auto":
        return config.mixed_precision
    use_gpu = uses_gpu(config.device)
    if computes_in_bf16(torch.device("cuda" if use_gpu else "cpu")):
        return "bf16"
    return "fp16" if use_gpu else "no"


def make_accelerator(config: TrainConfig) -> Accelerator:
    """The accelerator for the device and the precision of `config`.

    Raises:
        UserError: An earlier training of this process had another device or precision, or the processes cannot share a
            batch.
    """
    try:
        accelerator = Accelerator(
            cpu=not uses_gpu(config.device),
            mixed_precision=_precision(config),
            log_with=None if config.trackers == "none" else config.trackers,
            project_dir=str(Path(config.runs_dir) / config.name),
            gradient_accumulation_steps=config.num_micro_batches,
            dataloader_config=DataLoaderConfiguration(split_batches=True, non_blocking=True),
            kwargs_handlers=[InitProcessGroupKwargs(timeout=PROCESS_TIMEOUT)],
        )
    except ValueError as error:  # accelerate's state is one per process
        raise UserError(f"`device` and `mixed_precision` must not change in a process: {first_line(error)}") from None
    check_micro_batch(config, accelerator)
    return accelerator


def check_micro_batch(config: TrainConfig, accelerator: Accelerator) -> None:
    """Raise `UserError` unless the processes can share a micro-batch."""
    if config.batch_size // config.num_micro_batches % accelerator.num_processes:
        raise UserError(
            "`batch_size` / `gradient_accumulation_steps` must be a multiple of the number of processes, "
            f"got {config.batch_size} / {config.num_micro_batches} for {accelerator.num_processes}"
        )
