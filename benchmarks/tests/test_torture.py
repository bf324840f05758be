"""Killed commands go on: a short run of the job that starts fastest."""

from pathlib import Path

import pytest

from torture import JOBS, Job, torture


def test_nothing_is_lost_by_kills(tmp_path: Path, tiny_dataset: Path) -> None:
    for name in ("images", "train.json"):
        (tmp_path / "template" / "official").mkdir(parents=True, exist_ok=True)
        (tiny_dataset / name).rename(tmp_path / "template" / "official" / name)
    outcome = torture(JOBS["import"], tmp_path / "template", tmp_path / "work", kills=3, seed=0, lost=tmp_path / "lost")
    assert sum(outcome.kills.values()) == 3
    assert (outcome.lost, outcome.left_over) == (0, 0)
    assert outcome.ended >= 1


def test_what_comes_out_otherwise_is_lost(tmp_path: Path) -> None:
    (tmp_path / "template").mkdir()
    write = "import os, pathlib; pathlib.Path('out').write_bytes(os.urandom(9))"
    outcome = torture(
        Job(("-c", write), ("out",)), tmp_path / "template", tmp_path / "work", kills=1, seed=0, lost=tmp_path / "lost"
    )
    assert outcome.lost > 0


def test_a_job_must_end_undisturbed(tmp_path: Path) -> None:
    (tmp_path / "template").mkdir()
    job = Job(("-m", "lab_ddpm", "nonsense"), ("*",))
    with pytest.raises(RuntimeError, match="nonsense"):
        torture(job, tmp_path / "template", tmp_path / "work", kills=1, seed=0, lost=tmp_path / "lost")
