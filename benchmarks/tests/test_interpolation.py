"""The measurement has a row for every way and noise level, and says what its docstring says."""

import json
from pathlib import Path

import numpy as np
import pytest

import interpolation
from gaussian_oracle import GaussianOracle
from interpolation import WAYS, measure
from lab_ddpm.diffusion.pipeline import LabelConditionalPipeline
from lab_ddpm.tools.errors import UserError


def test_what_is_measured_is_what_the_docstring_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The oracle's posterior mean is linear in the mixture: no jump, no detour. Fresh noise at every lambda is one."""
    monkeypatch.setattr(interpolation, "STEPS", {"ddpm": 20, "ddim": 20})
    monkeypatch.setattr(interpolation, "TIMESTEPS", (499,))
    pipeline = LabelConditionalPipeline(GaussianOracle("sample"), "ddim")
    pipeline.set_progress_bar_config(disable=True)
    images = np.full((8, 16, 16, 3), np.arange(0, 256, 32, dtype=np.uint8).reshape(8, 1, 1, 1))
    table = measure(images, pipeline, 4, tmp_path / "out")
    rows = json.loads((tmp_path / "out" / "table.json").read_text(encoding="utf-8"))["rows"]
    assert [row["way"] for row in rows] == [way.title for way in WAYS]
    assert len(table.read_text(encoding="utf-8").splitlines()) == len(rows) + 2
    assert len(list((tmp_path / "out").glob("*.png"))) == len(rows) + 1  # why.png
    by_way = {row["way"]: row for row in rows}
    straight = by_way["shared noise, linear, one-step prediction"]
    assert straight["jump"]["mean"] == pytest.approx(1, abs=0.02)
    assert straight["detour"]["mean"] == pytest.approx(1, abs=0.02)
    fresh, shared = by_way["new random numbers for every lambda"], by_way["shared noise, linear"]
    assert fresh["detour"]["mean"] > 2 * shared["detour"]["mean"]
    with pytest.raises(UserError, match="num-pairs"):
        measure(images, pipeline, 5, tmp_path / "out")
