"""End long work at a good place when SIGTERM or SIGINT arrives, instead of in the middle of something."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any


class Interrupted(Exception):
    """SIGTERM or SIGINT arrived, and the work up to then is on the disk: `done` names it, e.g. "step 40"."""

    def __init__(self, signal_number: int, done: str) -> None:
        super().__init__(
            f"stopped by {signal.Signals(signal_number).name} after {done}; run the same command again to continue"
        )
        self.signal_number = signal_number


@contextmanager
def stop_signals(announcement: str) -> Iterator[list[int]]:
    """Collect SIGTERM and SIGINT instead of stopping, and print at once that they arrived and what happens next.

    Yields:
        The list of the signals that have arrived so far.
    """
    received: list[int] = []
    process = os.getpid()

    def handle(number: int, _: object) -> None:
        received.append(number)
        # not in a forked process, which inherits this handler; and once for all processes of a machine
        if os.getpid() == process and os.environ.get("LOCAL_RANK", "0") == "0":
            os.write(2, f"\n{signal.Signals(number).name}: {announcement}\n".encode())  # print() may be in use already

    with signal_handlers({signal.SIGTERM: handle, signal.SIGINT: handle}):
        yield received


def ignore_stop_signals(*_: object) -> None:
    """Leave SIGTERM and SIGINT to the parent. For worker processes."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)


@contextmanager
def signal_handlers(handlers: Mapping[signal.Signals, Any]) -> Iterator[None]:
    """Set signal handlers for the duration of the block; does nothing outside the main thread, as Python demands."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    previous = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
