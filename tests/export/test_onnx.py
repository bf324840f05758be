"""A network on ONNX Runtime predicts what it predicts in PyTorch, and a file of another pipeline is refused."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from conftest import save_tiny_pipeline, tiny_denoiser
from lab_ddpm.cli import main
from lab_ddpm.diffusion.pipeline import LabelConditionalPipeline
from lab_ddpm.diffusion.sampling import image_seeds
from lab_ddpm.generation.checkpoint import load_pipeline
from lab_ddpm.generation.generate import generate, open_pipeline
from lab_ddpm.generation.onnx_runtime import ONNX_FILE, open_onnx
from lab_ddpm.tools.errors import DataError, UserError


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An exported model with all parts: labels, a layout, detail."""
    folder = tmp_path_factory.mktemp("exported") / "best"
    settings = {"prediction_type": "sample", "patch_size": 2, "layout_scale": 2.0, "detail_channels": (8, 16)}
    denoiser = tiny_denoiser(labels=("a", "b"), block_out_channels=(32,), attention_levels=(), **settings)
    assert denoiser.detailer is not None
    torch.nn.init.normal_(denoiser.detailer.conv_out.weight)  # it begins with zeros
    LabelConditionalPipeline(denoiser, "ddpm", 3, 2.0).save_pretrained(folder)
    assert main(["export", "onnx", "--checkpoint", str(folder)]) == 0
    return folder


@pytest.mark.parametrize("number", [1, 70])
def test_predictions_are_those_of_torch(checkpoint: Path, number: int) -> None:
    denoiser, predict = load_pipeline(checkpoint).denoiser, open_onnx(checkpoint)
    noisy = torch.randn(number, *denoiser.space.shape, generator=torch.Generator().manual_seed(0))
    rows = torch.tensor([[1.0, 0.0], [0.0, 0.0], [0.5, 1.0]]).repeat(24, 1)[:number]
    for timestep in (torch.tensor(0), torch.tensor(599.5), torch.tensor(600), torch.tensor(999)):
        with torch.no_grad():
            expected = denoiser(noisy, timestep, rows)
        torch.testing.assert_close(predict(noisy, timestep, rows), expected, atol=1e-4, rtol=1e-4)


def test_images_are_those_of_torch(checkpoint: Path) -> None:
    images = {}
    for runtime in ("torch", "auto"):
        pipeline = open_pipeline(checkpoint, runtime=runtime)
        assert (pipeline.denoiser.runtime is None) == (runtime == "torch")
        composed = torch.eye(2)[None].repeat(3, 1, 1)
        images[runtime] = [
            generate(pipeline, conditions, image_seeds(0, 3)).images for conditions in ([("a",), ("b",), ()], composed)
        ]
    assert np.abs(np.stack(images["torch"]).astype(int) - np.stack(images["auto"])).max() <= 1


def test_without_a_file_torch_is_taken(tmp_path: Path) -> None:
    plain = save_tiny_pipeline(tmp_path / "best", 3)
    assert open_pipeline(plain, runtime="auto").denoiser.runtime is None
    with pytest.raises(DataError, match=ONNX_FILE):
        open_pipeline(plain, runtime="onnx")
    with pytest.raises(UserError, match="runtime"):
        open_pipeline(plain, runtime="jax")


def test_a_file_of_another_pipeline_and_a_broken_one_are_refused(checkpoint: Path, tmp_path: Path) -> None:
    other = save_tiny_pipeline(tmp_path / "best", 3, ("a", "c"))
    shutil.copy(checkpoint / ONNX_FILE, other)
    with pytest.raises(DataError, match="another pipeline"):
        open_onnx(other)
    (other / ONNX_FILE).write_bytes((checkpoint / ONNX_FILE).read_bytes()[:1000])
    with pytest.raises(DataError, match="cannot be read"):
        open_onnx(other)
