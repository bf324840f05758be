"""Train settings with the same budget and the same seeds, and compare them in one table."""

import sys
from pathlib import Path

from lab_ddpm.cli import load, run
from lab_ddpm.studies.ablation import read_sweep, run_sweep
from lab_ddpm.tools.arguments import Parser


def parser() -> Parser:
    parser = Parser("ablate", __doc__)
    parser.add_argument("sweep", type=Path, help="a file such as configs/ablations/fashion_mnist.yaml")
    parser.add_argument("--out", type=Path, help="default: ablations/NAME")
    return parser


def main(arguments: list[str]) -> None:
    options = parser().parse_args(arguments)
    sweep = read_sweep(options.sweep)
    table = run_sweep(sweep, options.out or Path("ablations") / sweep.name, load("train").train)
    print(table.read_text(encoding="utf-8") + f"wrote {table} and figure.png beside it")


if __name__ == "__main__":
    sys.exit(run(main))
