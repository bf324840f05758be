"""`ablate`, `study-interpolation`, `benchmark`, `check-replica`: measurements, printed as the documents need them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from lab_ddpm.ablation import read_sweep, run_sweep
from lab_ddpm.benchmark import benchmark
from lab_ddpm.interpolation_study import study_interpolation
from lab_ddpm.replica_check import check_replica
from lab_ddpm.sampler import open_sampler


def ablate_command(sweep: Path, out: Path | None) -> int:
    """Run a sweep; print its table."""
    settings = read_sweep(sweep)
    table = run_sweep(settings, out or Path("ablations") / settings.name)
    print(table.read_text(encoding="utf-8") + f"wrote {table} and figure.png beside it")
    return 0


def study_interpolation_command(
    dataset: str, root: Path, held_out: Path | None, checkpoint: Path | None, num_pairs: int, out: Path
) -> int:
    """Measure every way of interpolating; print the table."""
    pipeline = open_sampler(checkpoint, "ddpm", 1000, 1.0).pipeline
    table = study_interpolation(dataset, root, held_out, pipeline, num_pairs, out)
    print(table.read_text(encoding="utf-8") + f"wrote {table} and its figures beside it")
    return 0


def benchmark_command(configs: Sequence[Path], checkpoint: Path | None, steps: int) -> int:
    """Measure the speeds on this machine; print them."""
    print(*benchmark(configs, open_sampler(checkpoint, "ddim", 50, None).pipeline, steps), sep="\n")
    return 0


def check_replica_command(root: Path) -> int:
    """Compare the replica with the facts; exit code 1 if a difference is too large."""
    comparisons = check_replica(root)
    print(*comparisons, sep="\n")
    return int(not all(comparison.passes for comparison in comparisons))
