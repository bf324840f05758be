"""`render`: the replica of i-CLEVR, with the condition lists beside it."""

from __future__ import annotations

import os
from pathlib import Path

from lab_ddpm.condition_lists import write_condition_lists
from lab_ddpm.conditions import load_conditions, resolve_split
from lab_ddpm.replica.replica import render_replica


def run(out: Path, num_scenes: int, seed: int, workers: int | None, with_unseen: bool = False) -> int:
    """Render `num_scenes` scenes of the replica into `out`, with the condition lists beside them."""
    write_condition_lists(out)
    forbidden = [] if with_unseen else load_conditions(resolve_split("unseen", out))
    summary = render_replica(out, num_scenes, seed, workers or os.cpu_count() or 1, forbidden)
    print(f"wrote {summary.num_pictures} pictures ({summary.num_rendered} of them now) and train.json to {out}/")
    return 0
