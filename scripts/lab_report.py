"""Write the report that a course asks for about a run on i-CLEVR: settings, scores, images, its sampler and DDPM."""

import sys
from pathlib import Path

from lab_ddpm.cli import run
from lab_ddpm.generation.sampler import open_sampler
from lab_ddpm.report.lab_report import write_lab_report
from lab_ddpm.tools.arguments import Parser, add_sampling, sampling_options
from lab_ddpm.tools.errors import DataError, check_at_least


def parser() -> Parser:
    parser = Parser("lab-report", __doc__)
    parser.add_argument("run_folder", type=Path, help="e.g. runs/iclevr")
    add_sampling(parser)
    parser.add_argument("--num-seeds", type=int, default=4, help="of the scores (default: 4)")
    parser.add_argument("--out", type=Path, help="default: lab_report/ in the run's folder")
    return parser


def main(arguments: list[str]) -> None:
    options = parser().parse_args(arguments)
    check_at_least("num-seeds", options.num_seeds, 1)
    folder = options.run_folder
    if not folder.is_dir():
        raise DataError(f"{folder}: no such run folder")
    sampler = open_sampler(folder / "best", **sampling_options(options))
    report = write_lab_report(folder, sampler, options.num_seeds, options.out or folder / "lab_report")
    print(f"wrote {report} and {report.with_suffix('.html').name} beside it")


if __name__ == "__main__":
    sys.exit(run(main))
