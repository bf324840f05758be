"""`report`: one page about a run."""

from __future__ import annotations

from pathlib import Path

from lab_ddpm.report.page import write_report


def run(run_folder: Path, out: Path | None) -> int:
    """Write the page about a run."""
    page = out or run_folder / "report.html"
    write_report(run_folder, page)
    print(f"wrote the report {page}")
    return 0
