"""The study measures every way at every noise level; the interpolate command writes its strip."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from conftest import save_tiny_pipeline
from gaussian_oracle import GaussianOracle
from lab_ddpm.cli import main
from lab_ddpm.data import torchvision_data
from lab_ddpm.data.iclevr import OBJECTS
from lab_ddpm.data.torchvision_data import open_torchvision
from lab_ddpm.diffusion.pipeline import LabelConditionalPipeline
from lab_ddpm.generation.checkpoint import load_pipeline
from lab_ddpm.studies import interpolation
from lab_ddpm.studies.interpolation import WAYS, study_interpolation
from lab_ddpm.tools.errors import UserError
from real_formats import write_folder, write_mnist


def test_the_study_has_a_row_for_every_way_and_noise_level(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torchvision_data, "DEBIAN_FASHION_MNIST", Path("/absent"))
    monkeypatch.setattr(interpolation, "_STEPS", {"ddpm": 4, "ddim": 4})
    write_mnist(tmp_path / "digits")
    pipeline = load_pipeline(save_tiny_pipeline(str(tmp_path / "model"), 1))
    images = open_torchvision("mnist", tmp_path / "digits", 32, held_out=True).images
    table = study_interpolation(images, pipeline, 2, tmp_path / "out")
    rows = json.loads((tmp_path / "out" / "table.json").read_text(encoding="utf-8"))["rows"]
    assert [(row["t"], row["way"]) for row in rows] == [(t, way.title) for t in (249, 499, 749) for way in WAYS]
    assert len(table.read_text(encoding="utf-8").splitlines()) == len(rows) + 2
    assert len(list((tmp_path / "out").glob("*.png"))) == len(rows) + 1
    with pytest.raises(UserError, match="`num-pairs` must be at most 6 for 12 images, got 7"):
        study_interpolation(images, pipeline, 7, tmp_path / "out")


def test_what_is_measured_is_what_the_docstring_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The oracle's posterior mean is linear in the mixture: no jump, no detour. Fresh noise at every lambda is one."""
    monkeypatch.setattr(interpolation, "_STEPS", {"ddpm": 20, "ddim": 20})
    monkeypatch.setattr(interpolation, "_TIMESTEPS", (499,))
    pipeline = LabelConditionalPipeline(GaussianOracle("sample"), "ddim")
    pipeline.set_progress_bar_config(disable=True)
    images = np.full((8, 16, 16, 3), np.arange(0, 256, 32, dtype=np.uint8).reshape(8, 1, 1, 1))
    study_interpolation(images, pipeline, 4, tmp_path / "out")
    rows = json.loads((tmp_path / "out" / "table.json").read_text(encoding="utf-8"))["rows"]
    by_way = {row["way"]: row for row in rows}
    straight = by_way["shared noise, linear, mean of the posterior"]
    assert straight["jump"]["mean"] == pytest.approx(1, abs=0.02)
    assert straight["detour"]["mean"] == pytest.approx(1, abs=0.02)
    assert by_way["fresh noise, linear"]["detour"]["mean"] > 2 * by_way["shared noise, linear"]["detour"]["mean"]


def test_interpolate_between_two_image_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_folder(Path("pets"), count=2)
    save_tiny_pipeline("runs/pets/best", 3)
    files = ["--images", "pets/0.png", "pets/1.png"]
    assert main(["interpolate", *files, "--steps", "4", "--count", "3", "--mixing", "spherical"]) == 0
    content = json.loads(Path("interpolation/interpolation.json").read_text(encoding="utf-8"))
    assert content["lambdas"] == [0, 0.5, 1]
    assert len(content["distances"]) == 2
    assert content["timestep"] == 499
    with Image.open("interpolation/strip.png") as strip:
        assert strip.width > 5 * 64


def test_interpolate_between_two_conditions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    save_tiny_pipeline("runs/objects/best", 3, OBJECTS)
    ends = ["--conditions", "red cube, gray sphere", "cyan cylinder"]
    assert main(["interpolate", *ends, "--scheduler", "ddim", "--steps", "2", "--count", "3"]) == 0
    content = json.loads(Path("interpolation/interpolation.json").read_text(encoding="utf-8"))
    assert content["ends"] == ["red cube, gray sphere", "cyan cylinder"]
    assert main(["interpolate", "--conditions", "red cone", "cyan cylinder"]) == 2
    assert "got 'red cone'" in capsys.readouterr().err
    assert main(["interpolate", "--images", "a.png", "b.png", "--steps", "2"]) == 1
    assert "a.png: no such image" in capsys.readouterr().err
