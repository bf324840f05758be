"""Ending long work at a good place, where SIGTERM or SIGINT would have ended it in the middle of something."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator, Mapping
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
