"""What the processes of a launch must agree on, and what one of them does before the others."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast_object_list, gather_object

from lab_ddpm.tools.errors import UserError


def check_shared(run: Path, accelerator: Accelerator) -> None:
    """Raise `UserError`, on all processes, unless they all see the same folder of the run."""
    if accelerator.num_processes == 1:
        return
    # under a new name, because a network file system may remember for a while that a file was missing
    (name,) = broadcast_object_list([f".seen-{uuid.uuid4().hex}"])
    mark = run / name
    if accelerator.is_main_process:
        mark.touch()
    accelerator.wait_for_everyone()
    blind = gather_object([mark.exists()]).count(False)
    mark.unlink(missing_ok=True)
    if blind:
        raise UserError(
            f"`runs_dir` must be a folder that all machines share: {blind} of {accelerator.num_processes} processes "
            f"do not see {run.absolute()}"
        )


@contextmanager
def main_process_first(accelerator: Accelerator) -> Iterator[None]:
    """Run the block on the main process, then on the others, even if it raises an error: they raise it too.

    As accelerate's own, but the others wait for a day instead of `PROCESS_TIMEOUT`: large images take long to decode.
    """
    if accelerator.num_processes == 1:
        yield
        return
    group = torch.distributed.new_group(backend="gloo", timeout=timedelta(days=1))
    assert isinstance(group, torch.distributed.ProcessGroup)
    if not accelerator.is_main_process:
        torch.distributed.barrier(group)
    try:
        yield
    finally:
        if accelerator.is_main_process:
            torch.distributed.barrier(group)
    torch.distributed.destroy_process_group(group)


def is_asked_to_stop(accelerator: Accelerator, signals: Sequence[int], is_logged: bool) -> bool:
    """Whether a signal has arrived at any of the processes. Several ask each other only at steps that wait anyway."""
    if accelerator.num_processes == 1:
        return bool(signals)
    if not is_logged:
        return False
    if signals:
        accelerator.set_trigger()
    return accelerator.check_trigger()
