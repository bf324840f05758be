"""Measure rendering, reading, training and sampling on this machine, beside other libraries, or on ONNX Runtime."""

import os
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from lab_ddpm.cli import load, run
from lab_ddpm.generation.sampler import open_sampler
from lab_ddpm.iclevr.condition_lists import write_condition_lists
from lab_ddpm.iclevr.replica.replica import render_replica
from lab_ddpm.studies.benchmark import benchmark
from lab_ddpm.studies.peers import compare_speeds
from lab_ddpm.studies.runtimes import compare_runtimes
from lab_ddpm.tools.arguments import Parser, add_checkpoint
from lab_ddpm.tools.errors import UserError

_SCENES = 40  # of images to compare libraries on
PRESETS = [Path("configs/iclevr_cpu.yaml"), Path("configs/iclevr.yaml")]
_NAMES = ", ".join(map(str, PRESETS))
_NOT_OF = {"peers": ("configs", "checkpoint"), "runtimes": ("configs", "steps"), None: ("rounds",)}


def parser() -> Parser:
    parser = Parser("benchmark", __doc__)
    parser.add_argument("--configs", nargs="+", type=Path, help=f"presets to train a few steps of (default: {_NAMES})")
    add_checkpoint(parser)
    parser.add_argument("--steps", type=int, help="training steps to time, of each preset or library (default: 10)")
    compare = parser.add_mutually_exclusive_group()
    compare.add_argument("--peers", action="store_true", help="compare one network's speed in this and other libraries")
    compare.add_argument("--runtimes", action="store_true", help="compare sampling on PyTorch and on ONNX Runtime")
    parser.add_argument("--rounds", type=int, help="of a comparison, all timed in turn (default: 5)")
    return parser


def main(arguments: list[str]) -> None:
    options = parser().parse_args(arguments)
    comparison = "peers" if options.peers else "runtimes" if options.runtimes else None
    for name in _NOT_OF[comparison]:
        if getattr(options, name) is not None:
            where = f"with `--{comparison}`" if comparison else "without `--peers` or `--runtimes`"
            raise UserError(f"`--{name}` does not go {where}")
    steps = 10 if options.steps is None else options.steps
    rounds = 5 if options.rounds is None else options.rounds
    if options.peers:
        with TemporaryDirectory() as folder:
            write_condition_lists(folder)
            render_replica(folder, _SCENES, seed=0, workers=os.cpu_count() or 1)
            lines = compare_speeds(Path(folder) / "images", load("train").train, steps, rounds)
        print(*lines, sep="\n")
        return
    if options.runtimes:
        print(compare_runtimes(options.checkpoint, rounds), end="")
        return
    pipeline = open_sampler(options.checkpoint).pipeline
    print(*benchmark(options.configs or PRESETS, pipeline, steps, load("train").train), sep="\n")


if __name__ == "__main__":
    sys.exit(run(main))
