"""The measurement of a GPU, tried on a CPU in small, and the table of what trainings need."""

from __future__ import annotations

from pathlib import Path

import pytest

import gpu
import needs
from lab_ddpm.cli import run


def test_each_config_has_a_row(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(needs.main, ["--tflops", "10"]) == 0
    rows = [line.strip("| ").split(" | ") for line in capsys.readouterr().out.splitlines()[2:]]
    assert [row[0] for row in rows] == ["`configs/iclevr.yaml`", "`configs/iclevr_gpu.yaml`"]
    for _, parameters, operations, batch, memory, steps, total, hours in rows:
        assert float(parameters) > 10
        assert 0 < float(memory) < 7  # with what CUDA takes it fits into 8 GB
        in_all = float(operations) * int(batch) * int(steps.replace(",", "")) / 1e6
        assert in_all == pytest.approx(float(total), abs=0.6)
        assert in_all * 1e15 / 10e12 / 3600 == pytest.approx(float(hours), abs=0.06)


@pytest.mark.slow
def test_all_parts_are_measured_in_small(tiny_dataset: Path, tmp_path: Path) -> None:
    pack, out = tmp_path / "pack.zip", tmp_path / "measured"
    assert run(gpu.main, ["pack", "--root", str(tiny_dataset), "--out", str(pack)]) == 0
    assert run(gpu.main, ["run", "--data", str(pack), "--out", str(out), "--small", "--minutes", "30"]) == 0
    rows = [line.strip("| ").split(" | ") for line in (out / "table.md").read_text(encoding="utf-8").splitlines()[2:]]
    measured = dict(rows)
    assert measured["stopped and resumed: weights"] == "the same bit for bit"
    assert {what for what, value in measured.items() if value.startswith(("failed", "left out"))} == {"fp16"}
    for what in ("training `iclevr`, channels_last: speed", "sampling, eager: 64 at a time", "two trainings at once"):
        assert any(name.startswith(what) for name in measured)
    assert {"right" in what for what in measured if "scores: test" in what} == {True, False}
    assert (out / "test" / "grid.png").is_file()
