"""The comparison of PyTorch and ONNX Runtime: a row for each batch size, whose ratio is that of its rates."""

from __future__ import annotations

from pathlib import Path

import pytest

from conftest import save_tiny_pipeline
from lab_ddpm.export.programs import export_onnx
from lab_ddpm.generation.checkpoint import load_pipeline
from runtimes import compare_runtimes


def test_each_batch_size_is_timed_on_both(tmp_path: Path) -> None:
    checkpoint = save_tiny_pipeline(tmp_path / "best", 3)
    export_onnx(load_pipeline(checkpoint).denoiser, checkpoint)
    rows = [line.strip("| ").split(" | ") for line in compare_runtimes(checkpoint, 1, (1, 3)).splitlines()[2:]]
    assert [row[0] for row in rows] == ["1", "3"]
    for _, slow, fast, ratio, difference in rows:
        assert float(ratio.split(" [")[0]) == pytest.approx(float(fast) / float(slow), rel=0.02, abs=0.06)
        assert int(difference) <= 1
