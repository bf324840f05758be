"""Worker processes that come to no harm by the signals of the one that they work for, and do not outlive it."""

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


@contextmanager
def worker_pool(workers: int) -> Iterator[ProcessPoolExecutor]:
    """Processes that leave signals to this one, and end when it was killed without a chance to say so.

    Raises:
        DataError: One of them was killed, as systems do that run out of memory.
    """
    with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), _start_worker) as pool:
        # The first jobs start them, and they inherit that signals are ignored before they run a line of Python.
        with signal_handlers({signal.SIGINT: signal.SIG_IGN, signal.SIGTERM: signal.SIG_IGN}):
            for _ in range(workers):
                pool.submit(int)
        try:
            yield pool
        except BrokenProcessPool:
            raise DataError(
                f"one of {workers} worker processes was killed: too little memory for so many? What is finished is kept"
            ) from None


def _start_worker() -> None:
    os.setsid()  # Ctrl-C must not come here: Mitsuba hears it even where it is ignored, and returns half an image
    ignore_stop_signals()
    parent = multiprocessing.parent_process()
    assert parent is not None

    def follow() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=follow, daemon=True).start()
