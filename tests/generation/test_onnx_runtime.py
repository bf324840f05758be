"""A network on ONNX Runtime predicts what it predicts in PyTorch, and a file of another pipeline is refused."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from conftest import save_tiny_pipeline
from lab_ddpm.diffusion.reverse_process import image_seeds
from lab_ddpm.generation.checkpoint import load_pipeline
from lab_ddpm.generation.onnx_runtime import ONNX_FILE, export_onnx, open_onnx
from lab_ddpm.generation.sampler import open_sampler
from lab_ddpm.tools.errors import DataError, UserError


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = save_tiny_pipeline(tmp_path_factory.mktemp("exported") / "best", 3, ("a", "b"))
    export_onnx(load_pipeline(folder).denoiser, folder)
    return folder


@torch.no_grad()
def test_a_detailer_is_exported_too(tmp_path: Path) -> None:
    detail = {"prediction_type": "sample", "patch_size": 2, "layout_scale": 2.0, "detail_channels": (8, 16)}
    checkpoint = save_tiny_pipeline(tmp_path / "best", 3, ("a", "b"), **detail)
    denoiser = load_pipeline(checkpoint).denoiser
    export_onnx(denoiser, checkpoint)
    predict = open_onnx(checkpoint)
    noisy, rows = torch.randn(3, *denoiser.space.shape, generator=torch.Generator().manual_seed(0)), torch.eye(3)[:, :2]
    for timestep in (torch.tensor(0), torch.tensor(599.5), torch.tensor(600), torch.tensor(999)):
        torch.testing.assert_close(
            predict(noisy, timestep, rows), denoiser.predict(noisy, timestep, rows), atol=1e-4, rtol=1e-4
        )


@pytest.mark.parametrize("number", [1, 3, 70])
def test_predictions_are_those_of_torch(checkpoint: Path, number: int) -> None:
    denoiser, predict = load_pipeline(checkpoint).denoiser, open_onnx(checkpoint)
    noisy = torch.randn(number, *denoiser.space.shape, generator=torch.Generator().manual_seed(0))
    rows = torch.tensor([[1.0, 0.0], [0.0, 0.0], [0.5, 1.0]]).repeat(24, 1)[:number]
    for timestep in (torch.tensor(0), torch.tensor(700), torch.tensor(33.3)):
        with torch.no_grad():
            torch.testing.assert_close(predict(noisy, timestep, rows), denoiser.predict(noisy, timestep, rows))


def test_images_are_those_of_torch_and_composed_conditions_too(checkpoint: Path) -> None:
    for conditions in ([("a",), ("b",), ()], torch.eye(2)[None].repeat(3, 1, 1)):
        images = [
            open_sampler(checkpoint, "ddpm", 3, 2.0, runtime=runtime).sample(conditions, image_seeds(0, 3)).images
            for runtime in ("torch", "onnx")
        ]
        assert np.abs(images[0].astype(int) - images[1]).max() <= 1


def test_an_unconditional_network_is_exported_too(tmp_path: Path) -> None:
    checkpoint = save_tiny_pipeline(tmp_path / "best", 1)
    denoiser = load_pipeline(checkpoint).denoiser
    assert export_onnx(denoiser, checkpoint) == checkpoint / ONNX_FILE
    noisy = torch.randn(2, *denoiser.space.shape)
    with torch.no_grad():
        expected = denoiser.predict(noisy, torch.tensor(5), denoiser.null_labels(2))
    torch.testing.assert_close(open_onnx(checkpoint)(noisy, torch.tensor(5), denoiser.null_labels(2)), expected)


def test_it_is_taken_where_it_is(checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert open_sampler(checkpoint, steps=2, runtime="auto").denoiser.runtime is not None
    assert "on ONNX Runtime" in capsys.readouterr().out
    assert open_sampler(checkpoint, steps=2, runtime="torch").denoiser.runtime is None
    plain = save_tiny_pipeline(tmp_path / "best", 3)
    assert open_sampler(plain, steps=2, runtime="auto").denoiser.runtime is None
    with pytest.raises(DataError, match=r"denoiser\.onnx: no such file; `lab-ddpm export-onnx --checkpoint"):
        open_sampler(plain, steps=2, runtime="onnx")
    with pytest.raises(UserError, match="`runtime` must be one of"):
        open_sampler(plain, steps=2, runtime="jax")


def test_a_sampler_of_its_own_does_not_make_it_another_one(checkpoint: Path, tmp_path: Path) -> None:
    shutil.copytree(checkpoint, tmp_path / "best")
    index = tmp_path / "best/model_index.json"
    index.write_text(json.dumps({**json.loads(index.read_text()), "num_inference_steps": 3}))
    assert open_sampler(tmp_path / "best", runtime="onnx").steps == 3


def test_a_file_of_another_pipeline_and_a_broken_one_are_refused(checkpoint: Path, tmp_path: Path) -> None:
    other = save_tiny_pipeline(tmp_path / "best", 3, ("a", "c"))
    (other / ONNX_FILE).write_bytes((checkpoint / ONNX_FILE).read_bytes())
    with pytest.raises(DataError, match="was exported from another pipeline"):
        open_onnx(other)
    (other / ONNX_FILE).write_bytes((checkpoint / ONNX_FILE).read_bytes()[:1000])
    with pytest.raises(DataError, match="cannot be read"):
        open_onnx(other)
