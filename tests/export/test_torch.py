"""An exported network predicts the same without this package."""

import subprocess
import sys
from pathlib import Path

import torch

from conftest import tiny_denoiser
from lab_ddpm.cli import main
from lab_ddpm.diffusion.pipeline import LabelConditionalPipeline
from lab_ddpm.export.torch import MAX_BATCH

ELSEWHERE = """
import sys, torch
network = torch.export.load("denoiser.pt2").module()
noisy, timesteps, rows = torch.load("inputs.pt")
outputs = [network(noisy[:number], timestep, rows[:number]) for timestep in timesteps for number in (1, len(noisy))]
torch.save(outputs, "outputs.pt")
assert not any(name.startswith(("lab_ddpm", "diffusers")) for name in sys.modules)
"""


def test_predictions_are_the_same_without_the_package(tmp_path: Path) -> None:
    settings = {"prediction_type": "sample", "patch_size": 2, "detail_channels": (8, 16)}
    denoiser = tiny_denoiser(labels=("a", "b"), block_out_channels=(32,), attention_levels=(), **settings)
    assert denoiser.detailer is not None
    torch.nn.init.normal_(denoiser.detailer.conv_out.weight)
    LabelConditionalPipeline(denoiser, "ddim").save_pretrained(tmp_path)
    assert main(["export", "torch", "--checkpoint", str(tmp_path)]) == 0
    noisy = torch.randn(MAX_BATCH, *denoiser.space.shape, generator=torch.Generator().manual_seed(0))
    rows = torch.tensor([[1.0, 0.0], [0.0, 0.0], [0.5, 1.0]]).repeat(21, 1)
    timesteps = torch.tensor([0, 599.5, 600, 999])
    torch.save((noisy, timesteps, rows), tmp_path / "inputs.pt")
    subprocess.run([sys.executable, "-c", ELSEWHERE], cwd=tmp_path, check=True)
    with torch.no_grad():
        for found, timestep in zip(torch.load(tmp_path / "outputs.pt"), timesteps.repeat_interleave(2), strict=True):
            torch.testing.assert_close(found, denoiser(noisy[: len(found)], timestep, rows[: len(found)]))
