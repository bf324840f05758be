"""Compare sampling on PyTorch and on ONNX Runtime: one pipeline, in turn, several batch sizes.

lab-ddpm export onnx --checkpoint pretrained/iclevr-cpu
python benchmarks/runtimes.py --checkpoint pretrained/iclevr-cpu
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median

import numpy as np

from common import as_ratio, markdown_table
from lab_ddpm.arguments import add_checkpoint
from lab_ddpm.cli import run
from lab_ddpm.data.conditions import every_label
from lab_ddpm.data.images import Images
from lab_ddpm.diffusion.pipeline import LabelConditionalPipeline
from lab_ddpm.diffusion.sampling import image_seeds
from lab_ddpm.generation.checkpoint import open_pipeline
from lab_ddpm.generation.generate import generate
from lab_ddpm.tools.errors import check_at_least

BATCH_SIZES = (1, 4, 32, 64)
_COLUMNS = (
    "images at a time",
    "PyTorch, images/s",
    "ONNX Runtime, images/s",
    "times as fast",
    "largest difference, of 255",
)


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_checkpoint(parser)
    parser.add_argument("--rounds", type=int, default=5, help="both are timed in turn (default: 5)")
    options = parser.parse_args(arguments)
    print(compare_runtimes(options.checkpoint, options.rounds), end="")


def compare_runtimes(checkpoint: Path | None, rounds: int, batch_sizes: Sequence[int] = BATCH_SIZES) -> str:
    """Sample a batch of each size on both, `rounds` times in turn.

    Args:
        checkpoint: Folder of a pipeline with its ONNX file; None takes the default one.
        rounds: The table has the medians, and of the ratios in a round also the smallest and the largest.
        batch_sizes: A row each.

    Returns:
        A Markdown table: images a second, their ratio, and how far the images differ.

    Raises:
        UserError: No rounds; ONNX Runtime is not installed.
        DataError: No such checkpoint, or one without its ONNX file.
    """
    check_at_least("rounds", rounds, 1)
    on_torch = open_pipeline(checkpoint, runtime="torch")
    on_onnx = open_pipeline(on_torch.checkpoint, runtime="onnx")
    for pipeline in (on_torch, on_onnx):
        _timed(pipeline, 1)  # warms up
    return markdown_table(_COLUMNS, [_compare(on_torch, on_onnx, size, rounds) for size in batch_sizes])


def _compare(
    on_torch: LabelConditionalPipeline, on_onnx: LabelConditionalPipeline, size: int, rounds: int
) -> list[str]:
    times: list[tuple[float, float]] = []
    difference = 0
    for _ in range(rounds):
        (slow, expected), (fast, images) = _timed(on_torch, size), _timed(on_onnx, size)
        times.append((slow, fast))
        difference = max(difference, int(np.abs(expected.astype(int) - images).max()))
    slow, fast = (size / median(seconds) for seconds in zip(*times, strict=True))
    ratio = as_ratio([slow / fast for slow, fast in times])
    return [str(size), f"{slow:.2f}", f"{fast:.2f}", ratio, str(difference)]


def _timed(pipeline: LabelConditionalPipeline, size: int) -> tuple[float, Images]:
    """Seconds, and the images."""
    conditions = every_label(pipeline.denoiser.labels, size)
    started = time.perf_counter()
    images = generate(pipeline, conditions, image_seeds(0, size)).images
    return time.perf_counter() - started, images


if __name__ == "__main__":
    sys.exit(run(main))
