"""`import-checkpoint`: a plain UNet2DModel state dict as a pipeline."""

from __future__ import annotations

from pathlib import Path

from lab_ddpm.importing.checkpoints import import_checkpoint


def run(
    path: Path, out: Path, image_size: int, attention_head_dim: int, beta_schedule: str, prediction_type: str
) -> int:
    """Turn a state dict into a pipeline."""
    print(
        "wrote the pipeline "
        f"{import_checkpoint(path, out, image_size, attention_head_dim, beta_schedule, prediction_type)}"
    )
    return 0
