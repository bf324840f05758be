"""Measure rendering, reading, training and sampling on this machine, beside other libraries, or on ONNX Runtime."""

import os
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from lab_ddpm.cli import load, run
from lab_ddpm.iclevr.condition_lists import write_condition_lists
from lab_ddpm.iclevr.replica.replica import render_replica
from lab_ddpm.sampling.sampler import open_sampler
from lab_ddpm.studies.benchmark import benchmark
from lab_ddpm.studies.peers import compare_speeds
from lab_ddpm.studies.runtimes import compare_runtimes
from lab_ddpm.tools.arguments import Parser

_SCENES = 40  # of pictures to compare libraries on
PRESETS = [Path("configs/iclevr_cpu.yaml"), Path("configs/iclevr.yaml")]


def parser() -> Parser:
    parser = Parser("benchmark", __doc__)
    parser.add_argument("--configs", nargs="+", type=Path, default=PRESETS, help="presets to train a few steps of")
    parser.add_argument("--checkpoint", type=Path, help="pipeline to sample from")
    parser.add_argument("--steps", type=int, default=10, help="training steps to time per preset (default: 10)")
    compare = parser.add_mutually_exclusive_group()
    compare.add_argument("--peers", action="store_true", help="compare one network's speed in this and other libraries")
    compare.add_argument("--runtimes", action="store_true", help="compare sampling on PyTorch and on ONNX Runtime")
    parser.add_argument("--rounds", type=int, default=5, help="of a comparison, all timed in turn (default: 5)")
    return parser


def main(arguments: list[str]) -> None:
    options = parser().parse_args(arguments)
    if options.peers:
        with TemporaryDirectory() as folder:
            write_condition_lists(folder)
            render_replica(folder, _SCENES, seed=0, workers=os.cpu_count() or 1)
            lines = compare_speeds(Path(folder) / "images", load("train").train, options.steps, options.rounds)
        print(*lines, sep="\n")
        return
    if options.runtimes:
        print(compare_runtimes(options.checkpoint, options.rounds), end="")
        return
    pipeline = open_sampler(options.checkpoint).pipeline
    print(*benchmark(options.configs, pipeline, options.steps, load("train").train), sep="\n")


if __name__ == "__main__":
    sys.exit(run(main))
