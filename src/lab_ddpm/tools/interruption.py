"""Ending long work at a good place, where SIGTERM or SIGINT would have ended it in the middle of something."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from typing import Any


class Interrupted(Exception):
    """SIGTERM or SIGINT arrived, and what was done by then is on disk.

    Args:
        signal_number: The signal.
        done: What was done, e.g. "step 40".
    """

    def __init__(self, signal_number: int, done: str) -> None:
        super().__init__(
            f"stopped by {signal.Signals(signal_number).name} after {done}; the same command goes on from there"
        )
        self.signal_number = signal_number


@contextmanager
def stop_signals(announcement: str | None) -> Iterator[list[int]]:
    """Do not die of SIGTERM and SIGINT, but say at once that they were heard.

    Args:
        announcement: What is waited for, e.g. "stopping at the next step"; None to say nothing.

    Yields:
        The list of those that came, which grows.
    """
    received: list[int] = []
    process = os.getpid()

    def handle(number: int, _: object) -> None:
        received.append(number)
        if announcement and os.getpid() == process:  # a forked process inherits this handler
            os.write(2, f"\n{signal.Signals(number).name}: {announcement}\n".encode())  # print() may be in use already

    with signal_handlers({signal.SIGTERM: handle, signal.SIGINT: handle}):
        yield received


def ignore_stop_signals(*_: object) -> None:
    """Leave SIGTERM and SIGINT to the parent; to be called in a process that works for it."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)


@contextmanager
def signal_handlers(handlers: Mapping[signal.Signals, Any]) -> Iterator[None]:
    """Set handlers for as long as the block lasts (in the main thread: Python sets none in others)."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    previous = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


@contextmanager
def worker_pool(workers: int) -> Iterator[ProcessPoolExecutor]:
    """Processes that leave signals to this one, and end when it was killed without a chance to say so."""
    with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), _start_worker) as pool:
        # The first jobs start them, and they inherit that signals are ignored before they run a line of Python.
        with signal_handlers({signal.SIGINT: signal.SIG_IGN, signal.SIGTERM: signal.SIG_IGN}):
            for _ in range(workers):
                pool.submit(int)
        yield pool


def _start_worker() -> None:
    os.setsid()  # Ctrl-C must not come here: Mitsuba hears it even where it is ignored, and returns half a picture
    ignore_stop_signals()
    parent = multiprocessing.parent_process()
    assert parent is not None

    def follow() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=follow, daemon=True).start()
