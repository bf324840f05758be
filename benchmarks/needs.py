"""What trainings on i-CLEVR need of a GPU, counted and not measured.

    python benchmarks/needs.py

A row for each preset: parameters, floating-point operations of an image, memory in bf16 at its batch size
(`training/cost.py` says what that includes), and hours on a GPU that reaches so many TFLOP/s. A GPU reaches a quarter
to a half of what its data sheet promises for dense bf16. Evaluations are not counted.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from common import iclevr_preset, markdown_table
from lab_ddpm.cli import run
from lab_ddpm.data.iclevr import OBJECTS
from lab_ddpm.tools.errors import check_positive
from lab_ddpm.training.cost import training_cost

PRESETS = [Path("configs/iclevr.yaml"), Path("configs/iclevr_gpu.yaml")]
TFLOPS = [5, 10, 20, 40]
_COLUMNS = ("config", "parameters, M", "GFLOP an image", "batch", "memory, GiB", "steps", "PFLOP in all")


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = ", ".join(map(str, PRESETS))
    parser.add_argument("--configs", nargs="+", type=Path, default=PRESETS, help=f"presets (default: {names})")
    parser.add_argument("--tflops", nargs="+", type=float, default=TFLOPS, help="TFLOP/s (default: 5 10 20 40)")
    options = parser.parse_args(arguments)
    for speed in options.tflops:
        check_positive("tflops", speed)
    hours = [f"hours at {speed:g} TFLOP/s" for speed in options.tflops]
    rows = [needs_row(config, options.tflops) for config in options.configs]
    print(markdown_table([*_COLUMNS, *hours], rows), end="")


def needs_row(path: Path, tflops: list[float]) -> list[str]:
    config = iclevr_preset(path)
    cost = training_cost(config, OBJECTS, 3, config.num_micro_batches, "bf16", on_gpu=True)
    steps = config.epochs * -(-3 * config.data.num_scenes // config.batch_size)
    return [
        f"`{path}`",
        f"{cost.parameters / 1e6:.1f}",
        f"{cost.flops / config.batch_size / 1e9:.1f}",
        str(config.batch_size),
        f"{cost.memory / 2**30:.1f}",
        f"{steps:,}",
        f"{cost.flops * steps / 1e15:.0f}",
        *(f"{cost.flops * steps / (speed * 1e12) / 3600:.1f}" for speed in tflops),
    ]


if __name__ == "__main__":
    sys.exit(run(main))
