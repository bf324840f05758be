"""The comparison of speeds: what it reports, of the libraries that are there."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from lab_ddpm.data.images import write_png
from peers import compare_speeds


@pytest.fixture
def images(tmp_path: Path) -> Path:
    folder = tmp_path / "images"
    folder.mkdir()
    random = np.random.default_rng(0)
    for index in range(100):
        write_png(folder / f"{index:03d}.png", random.integers(0, 256, (32, 32, 3), dtype=np.uint8))
    return folder


def test_every_library_at_hand_is_compared_with_ours(images: Path) -> None:
    lines = compare_speeds(images, steps=1, rounds=1)
    names = ["training, lab_ddpm", "training, a bare PyTorch loop", "sampling, lab_ddpm"]
    names += ["sampling, diffusers' DDPMPipeline"]
    if find_spec("denoising_diffusion_pytorch"):
        names += ["training, lucidrains' Trainer", "sampling, lucidrains' GaussianDiffusion"]
    compared = dict(line.split(": ", 1) for line in lines if "images/s" in line)
    assert set(compared) == set(names)
    rates = {name: float(line.split(" images/s")[0]) for name, line in compared.items()}
    ratios = {name: float(line.split("ours / this: ")[1].split(" [")[0]) for name, line in compared.items()}
    for name in names:
        ours = rates[name.split(",")[0] + ", lab_ddpm"]
        assert ratios[name] == pytest.approx(ours / rates[name], abs=0.05 * ratios[name] + 0.01)
