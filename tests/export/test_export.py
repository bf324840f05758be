"""A folder for the Hub loads where lab_ddpm is not installed, and makes the same images."""

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import numpy as np
import pytest
from huggingface_hub import ModelCard
from PIL import Image

from conftest import save_tiny_pipeline
from lab_ddpm.cli import main
from lab_ddpm.data.images import write_png
from lab_ddpm.export.one_file import one_file
from lab_ddpm.generation.checkpoint import load_pipeline
from lab_ddpm.tools.files import write_json

# Without `site`, so without the .pth file of an editable install; a copy in site-packages would be found.
WITHOUT_LAB_DDPM = f"""
import sys
sys.path.append({sysconfig.get_path("purelib")!r})
sys.modules["lab_ddpm"] = None  # importing it is an ImportError
from diffusers import DiffusionPipeline
pipe = DiffusionPipeline.from_pretrained(sys.argv[1], trust_remote_code=True)
for index, image in enumerate(pipe(["a, b", "b"], num_inference_steps=3, guidance_scale=2.0, seed=0).images):
    image.save(f"{{sys.argv[1]}}/{{index}}.png")
"""


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("hub")
    detail = {"patch_size": 2, "prediction_type": "sample", "detail_channels": (8, 16)}
    pipeline = save_tiny_pipeline(folder / "best", 3, ("a", "b"), **detail)
    (pipeline / "README.md").write_text("# A card\n")
    write_png(pipeline / "grid.png", np.zeros((4, 4, 3), np.uint8))
    (pipeline / "metrics.jsonl").write_text("{}\n")
    score = {"mean": 0.75, "ci95": [0.7, 0.8]}
    write_json(pipeline / "metrics.json", {"splits": {"test": {"referee": {"micro": score, "exact_match": score}}}})
    assert main(["export-hub", str(pipeline), str(folder / "out"), "--name", "someone/tiny"]) == 0
    return pipeline, folder / "out"


def test_it_makes_the_same_images_without_the_package(exported: tuple[Path, Path], tmp_path: Path) -> None:
    pipeline, out = exported
    environment = {**os.environ, "HF_MODULES_CACHE": str(tmp_path), "HF_HUB_OFFLINE": "1", "PYTHONPATH": ""}
    command = [sys.executable, "-S", "-c", WITHOUT_LAB_DDPM, str(out)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    options = {"num_inference_steps": 3, "guidance_scale": 2.0, "seed": 0}
    for index, image in enumerate(load_pipeline(pipeline)(["a, b", "b"], **options).images):
        np.testing.assert_array_equal(np.asarray(Image.open(out / f"{index}.png")), np.asarray(image))


def test_it_is_a_checkpoint_as_any_other(exported: tuple[Path, Path]) -> None:
    first, second = (load_pipeline(path)(["a"], num_inference_steps=2, seed=1).images[0] for path in exported)
    np.testing.assert_array_equal(np.asarray(first), np.asarray(second))


def test_the_card_has_metadata_with_the_scores(exported: tuple[Path, Path]) -> None:
    card = ModelCard.load(exported[1] / "README.md")
    assert "# A card" in card.text
    assert 'from_pretrained("someone/tiny", trust_remote_code=True)' in card.text
    assert card.data.license == "mit"
    assert card.data.library_name == "diffusers"
    results = card.data.eval_results
    assert results is not None
    assert [(result.dataset_split, result.metric_value) for result in results] == [("test", 0.75), ("test", 0.75)]
    assert results[0].metric_name == "micro by referee: 0.750 [0.700, 0.800]"
    for name in ("grid.png", "metrics.json", "metrics.jsonl"):
        assert (exported[1] / name).is_file(), name


def test_an_export_of_an_export_has_one_card(exported: tuple[Path, Path], tmp_path: Path) -> None:
    again = tmp_path / "again"
    shutil.copytree(exported[0], tmp_path / "copy")
    shutil.copy(exported[1] / "README.md", tmp_path / "copy")
    assert main(["export-hub", str(tmp_path / "copy"), str(again), "--name", "someone/tiny"]) == 0
    assert (again / "README.md").read_text() == (exported[1] / "README.md").read_text()


def test_mistakes_are_one_line(exported: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pipeline, out = exported
    assert main(["export-hub", str(pipeline), str(out)]) == 1
    assert main(["export-hub", str(tmp_path / "nowhere"), str(tmp_path / "new")]) == 1
    assert main(["export-hub", str(pipeline)]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 3
    assert "must not be there yet" in lines[0]
    assert "no such checkpoint folder" in lines[1]
    assert not (tmp_path / "new").exists()


def test_two_definitions_of_one_name_are_refused() -> None:
    with pytest.raises(ValueError, match=r"_table is defined in lab_ddpm\.studies\.ablation and in lab_ddpm\.studies"):
        one_file("both", ("lab_ddpm.studies.ablation", "_table"), ("lab_ddpm.studies.interpolation", "_table"))
