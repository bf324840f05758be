"""Check the official images and lists, put them in place, and find the masks of the images."""

import sys
from pathlib import Path

from lab_ddpm.arguments import Parser
from lab_ddpm.cli import load_torch, run
from lab_ddpm.data.iclevr import ROOT
from lab_ddpm.tools.errors import DataError


def parser() -> Parser:
    parser = Parser("import-data", __doc__)
    parser.add_argument("path", type=Path, help="folder or zip file")
    parser.add_argument("--out", type=Path, default=ROOT, help=f"default: {ROOT}")
    return parser


def main(arguments: list[str]) -> None:
    options = parser().parse_args(arguments)
    load_torch(f"checking {options.path}")

    from lab_ddpm.evaluation.classifiers import EVALUATOR_DIR
    from lab_ddpm.iclevr.condition_lists import write_condition_lists
    from lab_ddpm.iclevr.official.import_data import import_data
    from lab_ddpm.iclevr.official.masks import write_masks

    report = import_data(options.path, options.out, EVALUATOR_DIR)
    print(report.text)
    write_condition_lists(options.out)  # the lists that the official files lack; val chooses the checkpoint
    if report.missing or (options.out / "replica.json").exists():
        return
    try:
        print(f"wrote {write_masks(options.out)} masks to {options.out / 'masks'}/")
    except DataError as error:
        print(f"found no masks (only models with a layout need them): {error}")


if __name__ == "__main__":
    sys.exit(run(main))
