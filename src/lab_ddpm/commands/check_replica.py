"""`check-replica`: rendered pictures against the facts about i-CLEVR, printed."""

from __future__ import annotations

from pathlib import Path

from lab_ddpm.replica.check import check_replica


def run(root: Path) -> int:
    """Compare the replica with the facts; exit code 1 if a difference is too large."""
    comparisons = check_replica(root)
    print(*comparisons, sep="\n")
    return int(not all(comparison.passes for comparison in comparisons))
