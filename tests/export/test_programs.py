"""An exported network predicts what it predicts here, and a file of another pipeline is refused."""

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from conftest import save_tiny_pipeline, tiny_denoiser
from lab_ddpm.cli import main
from lab_ddpm.diffusion.pipeline import LabelConditionalPipeline
from lab_ddpm.diffusion.sampling import image_seeds
from lab_ddpm.export.programs import MAX_BATCH, export_onnx
from lab_ddpm.generation.checkpoint import load_pipeline, open_pipeline
from lab_ddpm.generation.generate import generate
from lab_ddpm.generation.interpolation import invert
from lab_ddpm.generation.onnx_runtime import ONNX_FILE
from lab_ddpm.tools.errors import DataError
from lab_ddpm.tools.hardware import this_process

TIMESTEPS = torch.tensor([0, 599.5, 600, 999])
WITHOUT_LAB_DDPM = """
import sys, torch
network = torch.export.load("denoiser.pt2").module()
noisy, timesteps, rows, maps = torch.load("inputs.pt")
torch.save([
    network(noisy=noisy[:n], timestep=timestep, class_labels=rows[:n], place_map=maps[:n])
    for timestep in timesteps for n in (1, len(noisy))
], "outputs.pt")
assert not any(name.startswith(("lab_ddpm", "diffusers")) for name in sys.modules)
"""


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model with all parts (labels, a layout, detail), exported both ways."""
    folder = tmp_path_factory.mktemp("exported") / "best"
    settings = {"prediction_type": "sample", "patch_size": 2, "layout_scale": 2.0, "detail_channels": (8, 16)}
    denoiser = tiny_denoiser(labels=("a", "b"), block_out_channels=(32,), attention_levels=(), **settings)
    assert denoiser.detailer is not None
    torch.nn.init.normal_(denoiser.detailer.conv_out.weight)  # it begins with zeros
    LabelConditionalPipeline(denoiser, "ddpm", 3, 2.0).save_pretrained(folder)
    for kind in ("onnx", "torch"):
        assert main(["export", kind, "--checkpoint", str(folder)]) == 0
    return folder


@torch.no_grad()
def test_predictions_are_the_same(checkpoint: Path) -> None:
    denoiser, on_onnx = load_pipeline(checkpoint).denoiser, open_pipeline(checkpoint, runtime="onnx").denoiser
    noisy = torch.randn(MAX_BATCH, *denoiser.space.shape, generator=torch.Generator().manual_seed(0))
    rows = torch.tensor([[1.0, 0.0], [0.0, 0.0], [0.5, 1.0]]).repeat(21, 1)
    maps = torch.randn(MAX_BATCH, denoiser.place_map_channels, *noisy.shape[2:])
    torch.save((noisy, TIMESTEPS, rows, maps), checkpoint / "inputs.pt")
    subprocess.run([sys.executable, "-c", WITHOUT_LAB_DDPM], cwd=checkpoint, check=True)
    in_torch = iter(torch.load(checkpoint / "outputs.pt"))
    for timestep in TIMESTEPS:
        for n in (1, len(noisy)):
            expected = denoiser(noisy[:n], timestep, rows[:n], maps[:n])
            torch.testing.assert_close(next(in_torch), expected)
            torch.testing.assert_close(on_onnx(noisy[:n], timestep, rows[:n], maps[:n]), expected, atol=1e-4, rtol=1e-4)


def test_images_are_the_same(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lab_ddpm.generation.checkpoint.computes_in_bf16", lambda _: False)
    images = {}
    for runtime in ("torch", "auto"):
        pipeline = open_pipeline(checkpoint, runtime=runtime)
        assert ("forward" in vars(pipeline.denoiser)) == (runtime == "auto")
        rows = torch.eye(2)[None].repeat(3, 1, 1)  # composed conditions
        images[runtime] = generate(pipeline, rows, image_seeds(0, 3)).images
    assert np.abs(images["torch"].astype(int) - images["auto"]).max() <= 1


def test_onnx_stays_on_the_cpu_beside_a_gpu(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(this_process(), "device", torch.device("meta"))
    assert open_pipeline(checkpoint, runtime="torch").device.type == "meta"
    assert open_pipeline(checkpoint, runtime="onnx").device.type == "cpu"


@pytest.mark.slow
def test_a_model_with_clusters_is_inverted_on_onnx(tmp_path: Path) -> None:
    denoiser = tiny_denoiser(num_clusters=3, condition_dropout=0.1, block_out_channels=(32,), attention_levels=())
    LabelConditionalPipeline(denoiser, "ddim", 3).save_pretrained(tmp_path)
    export_onnx(load_pipeline(tmp_path).denoiser, tmp_path)
    images = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    expected, found = (invert(open_pipeline(tmp_path, runtime=name), images, 999) for name in ("torch", "onnx"))
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


def test_a_missing_file_one_of_another_pipeline_and_a_broken_one_are_refused(checkpoint: Path, tmp_path: Path) -> None:
    other = save_tiny_pipeline(tmp_path / "best", 3, ("a", "c"))
    assert "forward" not in vars(open_pipeline(other).denoiser)
    with pytest.raises(DataError, match=ONNX_FILE):
        open_pipeline(other, runtime="onnx")
    shutil.copy(checkpoint / ONNX_FILE, other)
    with pytest.raises(DataError, match=ONNX_FILE):
        open_pipeline(other, runtime="onnx")
    (other / ONNX_FILE).write_bytes((checkpoint / ONNX_FILE).read_bytes()[:1000])
    with pytest.raises(DataError, match="cannot be read"):
        open_pipeline(other, runtime="onnx")
