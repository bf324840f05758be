"""Write a page about a run and, for i-CLEVR, the lab report that a course asks for."""

import sys
from pathlib import Path

from lab_ddpm.arguments import Parser, add_sampling, refuse, sampling_options
from lab_ddpm.cli import load_torch, run
from lab_ddpm.tools.errors import check_at_least
from lab_ddpm.tools.extras import require_extra


def parser() -> Parser:
    parser = Parser("report", __doc__)
    parser.add_argument("run_folder", type=Path, help="e.g. runs/iclevr")
    parser.add_argument("--out", type=Path, help="folder for report.html and lab_report/ (default: the run's folder)")
    parser.add_argument("--page-only", action="store_true", help="skip the lab report, which samples images")
    parser.add_argument("--num-seeds", type=int, help="seeds for the lab report's scores (default: 4)")
    add_sampling(parser)
    return parser


def main(arguments: list[str]) -> None:
    options = parser().parse_args(arguments)
    num_seeds = 4 if options.num_seeds is None else options.num_seeds
    check_at_least("num-seeds", num_seeds, 1)
    if options.page_only:
        refuse(options, "--page-only", "num_seeds", *sampling_options(options))
    require_extra("matplotlib", "jinja2", "markdown")
    load_torch(f"writing a report about {options.run_folder}")

    from lab_ddpm.generation.checkpoint import open_pipeline
    from lab_ddpm.report.lab_report import why_no_lab_report, write_lab_report
    from lab_ddpm.report.page import write_page

    folder, out = options.run_folder, options.out or options.run_folder
    reason = "left out by `--page-only`" if options.page_only else why_no_lab_report(folder)
    pipeline = None if reason else open_pipeline(folder / "best", **sampling_options(options))
    write_page(folder, out / "report.html")
    print(f"wrote the page {out / 'report.html'}")
    if pipeline is None:
        print(f"no lab report: {reason}")
    else:
        report = write_lab_report(folder, pipeline, num_seeds, out / "lab_report")
        print(f"wrote the lab report {report} and {report.with_suffix('.html')}")


if __name__ == "__main__":
    sys.exit(run(main))
