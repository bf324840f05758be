"""`import-data`: the official files, checked and put in place."""

from __future__ import annotations

from pathlib import Path

from lab_ddpm.importing.official_data import import_data


def run(path: Path, out: Path, evaluator: Path) -> int:
    """Check the official files and put them in place."""
    print(import_data(path, out, evaluator))
    return 0
