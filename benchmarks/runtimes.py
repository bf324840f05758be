"""The speed of sampling on PyTorch and on ONNX Runtime: one pipeline, its own sampler, in turn, several batch sizes."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median

import numpy as np

from lab_ddpm.data.conditions import every_label
from lab_ddpm.data.images import Images
from lab_ddpm.diffusion.reverse_process import image_seeds
from lab_ddpm.generation.sampler import Sampler, open_sampler
from lab_ddpm.studies.ratios import as_ratio
from lab_ddpm.tools.errors import check_at_least
from lab_ddpm.tools.tables import markdown_table

BATCH_SIZES = (1, 4, 32, 64)
_COLUMNS = (
    "images at a time",
    "PyTorch, images/s",
    "ONNX Runtime, images/s",
    "times as fast",
    "largest difference, of 255",
)


def compare_runtimes(checkpoint: Path | None, rounds: int, batch_sizes: Sequence[int] = BATCH_SIZES) -> str:
    """Sample a batch of each size on both, `rounds` times in turn.

    Args:
        checkpoint: Folder of a pipeline with its ONNX file; None takes the default one.
        rounds: Of which the medians are reported, of the ratios within a round the smallest and the largest, too.
        batch_sizes: A row each.

    Returns:
        A Markdown table: images a second, their ratio within a round, and how far the images differ.

    Raises:
        UserError: No round at all; ONNX Runtime is not installed.
        DataError: No such checkpoint, or one without its ONNX file.
    """
    check_at_least("rounds", rounds, 1)
    on_torch = open_sampler(checkpoint)
    on_onnx = open_sampler(on_torch.checkpoint, runtime="onnx")
    for sampler in (on_torch, on_onnx):
        _timed(sampler, 1)  # what is allocated once
    return markdown_table(_COLUMNS, [_compare(on_torch, on_onnx, size, rounds) for size in batch_sizes])


def _compare(on_torch: Sampler, on_onnx: Sampler, size: int, rounds: int) -> list[str]:
    times: list[tuple[float, float]] = []
    difference = 0
    for _ in range(rounds):
        (slow, expected), (fast, images) = _timed(on_torch, size), _timed(on_onnx, size)
        times.append((slow, fast))
        difference = max(difference, int(np.abs(expected.astype(int) - images).max()))
    slow, fast = (size / median(seconds) for seconds in zip(*times, strict=True))
    ratio = as_ratio([slow / fast for slow, fast in times])
    return [str(size), f"{slow:.2f}", f"{fast:.2f}", ratio, str(difference)]


def _timed(sampler: Sampler, size: int) -> tuple[float, Images]:
    """Seconds, and the images."""
    conditions = every_label(sampler.labels, size)
    started = time.perf_counter()
    images = sampler.sample(conditions, image_seeds(0, size)).images
    return time.perf_counter() - started, images
