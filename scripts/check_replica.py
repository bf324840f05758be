"""Measure rendered images against the facts about i-CLEVR; exit code 1 if a difference is too large."""

import sys
from pathlib import Path

from lab_ddpm.cli import run
from lab_ddpm.data.iclevr import ROOT
from lab_ddpm.iclevr.replica.check import check_replica
from lab_ddpm.tools.arguments import Parser


def parser() -> Parser:
    parser = Parser("check-replica", __doc__)
    parser.add_argument("--root", type=Path, default=ROOT, help=f"default: {ROOT}")
    return parser


def main(arguments: list[str]) -> int:
    comparisons = check_replica(parser().parse_args(arguments).root)
    print(*comparisons, sep="\n")
    return int(not all(comparison.passes for comparison in comparisons))


if __name__ == "__main__":
    sys.exit(run(main))
