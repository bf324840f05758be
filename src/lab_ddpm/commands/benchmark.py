"""`benchmark`: rendering, reading, training and sampling speeds, printed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from lab_ddpm.sampler import open_sampler
from lab_ddpm.studies.benchmark import benchmark


def run(configs: Sequence[Path], checkpoint: Path | None, steps: int) -> int:
    """Measure the speeds on this machine; print them."""
    print(*benchmark(configs, open_sampler(checkpoint, "ddim", 50, None).pipeline, steps), sep="\n")
    return 0
