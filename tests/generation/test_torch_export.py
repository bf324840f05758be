"""An exported network predicts what it predicts here, without this package."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from conftest import save_tiny_pipeline
from lab_ddpm.cli import main
from lab_ddpm.generation.checkpoint import load_pipeline
from lab_ddpm.generation.torch_export import MAX_BATCH

_ELSEWHERE = """
import sys, torch
network = torch.export.load("denoiser.pt2").module()
noisy, timesteps, rows = torch.load("inputs.pt")
outputs = [network(noisy[:number], timestep, rows[:number]) for timestep in timesteps for number in (1, 2, len(noisy))]
torch.save(outputs, "outputs.pt")
assert not any(name.startswith(("lab_ddpm", "diffusers")) for name in sys.modules)
"""


@pytest.mark.parametrize("detail_channels", [(), (8, 16)], ids=["plain", "detail"])
def test_predictions_are_the_same_without_the_package(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], detail_channels: tuple[int, ...]
) -> None:
    settings = {"prediction_type": "sample", "patch_size": 2, "detail_channels": detail_channels}
    folder = save_tiny_pipeline(tmp_path / "best", 3, ("a", "b"), **settings)
    assert main(["export-torch", "--checkpoint", str(folder)]) == 0
    assert f"wrote {folder / 'denoiser.pt2'}" in capsys.readouterr().out
    denoiser = load_pipeline(folder).denoiser
    noisy = torch.randn(MAX_BATCH, *denoiser.space.shape, generator=torch.Generator().manual_seed(0))
    rows = torch.tensor([[1.0, 0.0], [0.0, 0.0], [0.5, 1.0]]).repeat(21, 1)
    timesteps = torch.tensor([0, 333, 599.5, 600, 999])
    torch.save((noisy, timesteps, rows), folder / "inputs.pt")
    subprocess.run([sys.executable, "-c", _ELSEWHERE], cwd=folder, check=True)
    with torch.no_grad():
        for predicted, timestep in zip(torch.load(folder / "outputs.pt"), timesteps.repeat_interleave(3), strict=True):
            number = len(predicted)
            torch.testing.assert_close(predicted, denoiser.predict(noisy[:number], timestep, rows[:number]))
