"""Ending a run at the end of a step, where SIGTERM or SIGINT would have ended it in the middle of one."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


class Interrupted(Exception):
    """SIGTERM or SIGINT arrived; the state of the step that was under way is saved."""

    def __init__(self, signal_number: int, step: int) -> None:
        super().__init__(f"stopped by {signal.Signals(signal_number).name} after step {step}")
        self.signal_number = signal_number


@contextmanager
def stop_signals(notify: Callable[[], None]) -> Iterator[list[int]]:
    """Call `notify` on SIGTERM and SIGINT in place of dying; yields the list of the signals that came."""
    received: list[int] = []

    def handle(number: int, _frame: FrameType | None) -> None:
        received.append(number)
        notify()

    before = {number: signal.signal(number, handle) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
