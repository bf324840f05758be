"""Write one HTML page about a run."""

import sys
from pathlib import Path

from lab_ddpm.cli import run
from lab_ddpm.report.page import write_report
from lab_ddpm.tools.arguments import Parser


def parser() -> Parser:
    parser = Parser("report", __doc__)
    parser.add_argument("run_folder", type=Path, help="e.g. runs/iclevr")
    parser.add_argument("--out", type=Path, help="default: report.html in the run's folder")
    return parser


def main(arguments: list[str]) -> None:
    options = parser().parse_args(arguments)
    page = options.out or options.run_folder / "report.html"
    write_report(options.run_folder, page)
    print(f"wrote the report {page}")


if __name__ == "__main__":
    sys.exit(run(main))
