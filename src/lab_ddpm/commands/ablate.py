"""`ablate`: a sweep of settings, and its table, printed."""

from __future__ import annotations

from pathlib import Path

from lab_ddpm.studies.ablation import read_sweep, run_sweep


def run(sweep: Path, out: Path | None) -> int:
    """Run a sweep; print its table."""
    settings = read_sweep(sweep)
    table = run_sweep(settings, out or Path("ablations") / settings.name)
    print(table.read_text(encoding="utf-8") + f"wrote {table} and figure.png beside it")
    return 0
