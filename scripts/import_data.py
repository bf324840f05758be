"""Check the official images and lists, and put them in place."""

import sys
from pathlib import Path

from lab_ddpm.cli import run
from lab_ddpm.data.iclevr import ROOT
from lab_ddpm.evaluation.classifiers import EVALUATOR_DIR
from lab_ddpm.iclevr.condition_lists import write_condition_lists
from lab_ddpm.iclevr.official.import_data import import_data
from lab_ddpm.tools.arguments import Parser


def parser() -> Parser:
    parser = Parser("import-data", __doc__)
    parser.add_argument("path", type=Path, help="folder or zip")
    parser.add_argument("--out", type=Path, default=ROOT, help=f"default: {ROOT}")
    return parser


def main(arguments: list[str]) -> None:
    options = parser().parse_args(arguments)
    print(import_data(options.path, options.out, EVALUATOR_DIR))
    write_condition_lists(options.out)  # of ours, what the official material has none of: val picks checkpoints


if __name__ == "__main__":
    sys.exit(run(main))
