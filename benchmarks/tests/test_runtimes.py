"""The comparison of PyTorch and ONNX Runtime: a row for each batch size, whose ratio is that of its rates."""

from __future__ import annotations

from pathlib import Path

import pytest

from conftest import save_tiny_pipeline
from lab_ddpm.generation.checkpoint import load_pipeline
from lab_ddpm.generation.onnx_runtime import export_onnx
from lab_ddpm.studies.runtimes import compare_runtimes
from lab_ddpm.tools.errors import DataError, UserError


@pytest.mark.parametrize("labels", [("a", "b"), ()])
def test_each_batch_size_is_timed_on_both(tmp_path: Path, labels: tuple[str, ...]) -> None:
    checkpoint = save_tiny_pipeline(tmp_path / "best", 3, labels)
    export_onnx(load_pipeline(checkpoint).denoiser, checkpoint)
    rows = [line.strip("| ").split(" | ") for line in compare_runtimes(checkpoint, 1, (1, 3)).splitlines()[2:]]
    assert [row[0] for row in rows] == ["1", "3"]
    for _, slow, fast, ratio, difference in rows:
        assert float(ratio.split(" [")[0]) == pytest.approx(float(fast) / float(slow), rel=0.02, abs=0.06)
        assert int(difference) <= 1


def test_a_pipeline_without_its_file_and_no_round_at_all_are_refused(tmp_path: Path) -> None:
    checkpoint = save_tiny_pipeline(tmp_path / "best", 3)
    with pytest.raises(DataError, match=r"denoiser\.onnx: no such file"):
        compare_runtimes(checkpoint, 1)
    with pytest.raises(UserError, match="`rounds` must be at least 1, got 0"):
        compare_runtimes(checkpoint, 0)
