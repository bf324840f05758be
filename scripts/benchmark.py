"""Measure rendering, reading, training and sampling on this machine."""

import sys
from pathlib import Path

from lab_ddpm.cli import load, run
from lab_ddpm.sampling.sampler import open_sampler
from lab_ddpm.studies.benchmark import benchmark
from lab_ddpm.tools.arguments import Parser

PRESETS = [Path("configs/iclevr_cpu.yaml"), Path("configs/iclevr.yaml")]


def parser() -> Parser:
    parser = Parser("benchmark", __doc__)
    parser.add_argument("--configs", nargs="+", type=Path, default=PRESETS, help="presets to train a few steps of")
    parser.add_argument("--checkpoint", type=Path, help="pipeline to sample from")
    parser.add_argument("--steps", type=int, default=10, help="training steps to time per preset (default: 10)")
    return parser


def main(arguments: list[str]) -> None:
    options = parser().parse_args(arguments)
    pipeline = open_sampler(options.checkpoint).pipeline
    print(*benchmark(options.configs, pipeline, options.steps, load("train").train), sep="\n")


if __name__ == "__main__":
    sys.exit(run(main))
