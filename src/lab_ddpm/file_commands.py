"""`import-data`, `import-checkpoint`, `report`: files of others brought in, and a page made of one's own."""

from __future__ import annotations

from pathlib import Path


def import_data_command(path: Path, out: Path, evaluator: Path) -> int:
    """Check the official files and put them in place."""
    from lab_ddpm.importing import import_data

    print(import_data(path, out, evaluator))
    return 0


def import_checkpoint_command(path: Path, out: Path) -> int:
    """Turn a state dict into a pipeline."""
    from lab_ddpm.importing_checkpoints import import_checkpoint

    print(f"wrote the pipeline {import_checkpoint(path, out)}")
    return 0


def report_command(run_folder: Path, out: Path | None) -> int:
    """Write the page about a run."""
    from lab_ddpm.report import write_report

    page = out or run_folder / "report.html"
    write_report(run_folder, page)
    print(f"wrote the report {page}")
    return 0
