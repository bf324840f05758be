"""The log of a run survives a crash at any byte and forgets what is trained again."""

from pathlib import Path

import pytest

from lab_ddpm.training.metrics_log import append_record, read_records, rewind

RECORDS = [{"step": step, "loss": 0.1 * step, "validation": {"micro": [step]}} for step in (1, 2, 2, 5)]


@pytest.fixture
def log(tmp_path: Path) -> Path:
    for record in RECORDS:
        append_record(tmp_path / "metrics.jsonl", record)
    return tmp_path / "metrics.jsonl"


def test_a_record_that_a_crash_cut_short_is_left_out(log: Path) -> None:
    content = log.read_bytes()
    for length in range(len(content)):
        log.write_bytes(content[:length])
        assert read_records(log) == RECORDS[: content[:length].count(b"\n")]


@pytest.mark.parametrize(("step", "kept"), [(0, 0), (2, 3), (9, 4)])
def test_rewinding_keeps_what_was_logged_up_to_the_step(log: Path, step: int, kept: int) -> None:
    rewind(log, step, {1, 2, 5})
    assert read_records(log) == RECORDS[:kept]


def test_rewinding_forgets_scores_of_evaluations_that_are_done_again(tmp_path: Path) -> None:
    records = [{"step": 1, "loss": 0.5}, {"step": 1, "validation": {}}, {"step": 2, "validation": {}}]
    for record in records:
        append_record(tmp_path / "metrics.jsonl", record)
    rewind(tmp_path / "metrics.jsonl", 2, {1})
    assert read_records(tmp_path / "metrics.jsonl") == records[:2]


def test_after_rewinding_a_cut_log_new_records_stand_on_their_own_lines(log: Path) -> None:
    log.write_bytes(log.read_bytes()[:-5])
    rewind(log, 2, {1, 2})
    append_record(log, {"step": 3})
    assert read_records(log) == [*RECORDS[:3], {"step": 3}]
