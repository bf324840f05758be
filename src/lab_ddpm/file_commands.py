"""`import-data`, `import-checkpoint`, `report`: files of others brought in, and a page made of one's own."""

from __future__ import annotations

from pathlib import Path

from lab_ddpm.importing import import_data
from lab_ddpm.importing_checkpoints import import_checkpoint
from lab_ddpm.report import write_report


def import_data_command(path: Path, out: Path, evaluator: Path) -> int:
    """Check the official files and put them in place."""
    print(import_data(path, out, evaluator))
    return 0


def import_checkpoint_command(
    path: Path, out: Path, image_size: int, attention_head_dim: int, beta_schedule: str, prediction_type: str
) -> int:
    """Turn a state dict into a pipeline."""
    print(
        "wrote the pipeline "
        f"{import_checkpoint(path, out, image_size, attention_head_dim, beta_schedule, prediction_type)}"
    )
    return 0


def report_command(run_folder: Path, out: Path | None) -> int:
    """Write the page about a run."""
    page = out or run_folder / "report.html"
    write_report(run_folder, page)
    print(f"wrote the report {page}")
    return 0
