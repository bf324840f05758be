"""How long training steps take, and how much of it is not forward, backward and optimizer."""

from __future__ import annotations

import time


class StepTimer:
    """Sums the wall time of steps, from the end of one (or from `restart`) to the end of the next.

    Attributes:
        steps: Steps timed.
        seconds: Their wall time.
    """

    def __init__(self) -> None:
        self.steps, self.seconds, self._busy = 0, 0.0, 0.0
        self._mark = self._work_began = time.perf_counter()

    def work_begins(self) -> None:
        """What the time is meant for begins: there is a batch."""
        self._work_began = time.perf_counter()

    def work_ends(self) -> None:
        """It has been worked on."""
        self._busy += time.perf_counter() - self._work_began

    def step_done(self) -> float:
        """End a step; returns its seconds."""
        now = time.perf_counter()
        elapsed, self._mark = now - self._mark, now
        self.steps += 1
        self.seconds += elapsed
        return elapsed

    def restart(self) -> None:
        """Leave what happened since the last `step_done` (an evaluation, a save) out of the next step."""
        self._mark = time.perf_counter()

    def overhead(self) -> float:
        """Share of the steps' wall time outside the work, in [0, 1]."""
        return 1 - self._busy / self.seconds
