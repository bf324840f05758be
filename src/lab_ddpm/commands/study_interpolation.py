"""`study-interpolation`: how evenly pictures change along lambda, printed."""

from __future__ import annotations

from pathlib import Path

from lab_ddpm.data.dataset import open_held_out
from lab_ddpm.sampler import open_sampler
from lab_ddpm.studies.interpolation import study_interpolation


def run(dataset: str, root: Path, held_out: Path | None, checkpoint: Path | None, num_pairs: int, out: Path) -> int:
    """Measure every way of interpolating; print the table."""
    sampler = open_sampler(checkpoint, "ddpm", 1000, 1.0)
    real = open_held_out(dataset, root, held_out, sampler.pipeline.unet.config["sample_size"])
    sampler.check_data(real)
    table = study_interpolation(real.pictures, sampler.pipeline, num_pairs, out)
    print(table.read_text(encoding="utf-8") + f"wrote {table} and its figures beside it")
    return 0
