"""Worker processes that ignore the signals to their parent, and end with it."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager

from lab_ddpm.tools.errors import DataError
from lab_ddpm.tools.interruption import ignore_stop_signals, signal_handlers


def available_cores() -> int:
    """The logical cores that this process may use: a container or a cluster may give it fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def worker_pool(workers: int) -> Iterator[ProcessPoolExecutor]:
    """A pool whose processes leave SIGTERM and SIGINT to this one, and end even if this one is killed.

    Raises:
        DataError: One of them was killed, which systems do when memory runs out.
    """
    with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), _start_worker) as pool:
        # The first jobs start the processes; they inherit ignored signals before they run any Python.
        with signal_handlers({signal.SIGINT: signal.SIG_IGN, signal.SIGTERM: signal.SIG_IGN}):
            for _ in range(workers):
                pool.submit(int)
        try:
            yield pool
        except BrokenProcessPool:
            raise DataError(
                f"one of {workers} worker processes was killed, perhaps for lack of memory; finished work is kept"
            ) from None


def _start_worker() -> None:
    os.setsid()  # no Ctrl-C here: Mitsuba reacts even to an ignored one, and returns half an image
    ignore_stop_signals()
    parent = multiprocessing.parent_process()
    assert parent is not None

    def follow() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=follow, daemon=True).start()
