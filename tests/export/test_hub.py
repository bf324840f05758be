"""A folder for the Hub loads without lab_ddpm, and makes the same images."""

import os
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from huggingface_hub import ModelCard
from huggingface_hub.errors import LocalTokenNotFoundError
from PIL import Image

from conftest import save_tiny_pipeline, tiny_arguments
from lab_ddpm.cli import main
from lab_ddpm.data.images import write_png
from lab_ddpm.export import one_file
from lab_ddpm.generation.checkpoint import load_pipeline
from lab_ddpm.tools.files import write_json

ROOT = Path(__file__).parents[2]

# Without `site`, so without the .pth file of an editable install.
WITHOUT_LAB_DDPM = f"""
import sys
sys.path.append({sysconfig.get_path("purelib")!r})
sys.modules["lab_ddpm"] = None  # importing it is an ImportError
from diffusers import DiffusionPipeline
pipe = DiffusionPipeline.from_pretrained(sys.argv[1], trust_remote_code=True)
for index, image in enumerate(pipe(["a, b", "b"], num_inference_steps=3, guidance_scale=2.0, seed=0).images):
    image.save(f"{{sys.argv[1]}}/{{index}}.png")
"""


def export(checkpoint: Path, out: Path, *more: str) -> int:
    return main(["export", "hub", "--checkpoint", str(checkpoint), "--out", str(out), "--name", "someone/tiny", *more])


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("hub")
    detail = {"patch_size": 2, "prediction_type": "sample", "detail_channels": (8, 16)}
    pipeline = save_tiny_pipeline(folder / "best", 3, ("a", "b"), **detail)
    (pipeline / "README.md").write_text("---\ndatasets:\n- someone/pets\nmetrics:\n- exact_match\n---\n\n# A card\n")
    write_png(pipeline / "grid.png", np.zeros((4, 4, 3), np.uint8))
    score = {"mean": 0.75, "ci95": [0.7, 0.8]}
    write_json(pipeline / "metrics.json", {"splits": {"test": {"referee": {"micro": score, "exact_match": score}}}})
    assert export(pipeline, folder / "out") == 0
    return pipeline, folder / "out"


def test_it_makes_the_same_images_without_the_package(exported: tuple[Path, Path], tmp_path: Path) -> None:
    _, out = exported
    environment = {**os.environ, "HF_MODULES_CACHE": str(tmp_path), "HF_HUB_OFFLINE": "1", "PYTHONPATH": ""}
    command = [sys.executable, "-S", "-c", WITHOUT_LAB_DDPM, str(out)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    options = {"num_inference_steps": 3, "guidance_scale": 2.0, "seed": 0}
    for path in exported:  # the folder is a checkpoint of ours too
        for index, image in enumerate(load_pipeline(path)(["a, b", "b"], **options)[0]):
            np.testing.assert_array_equal(np.asarray(Image.open(out / f"{index}.png")), np.asarray(image))


def test_the_card_has_the_scores(exported: tuple[Path, Path]) -> None:
    card: Any = ModelCard.load(exported[1] / "README.md")
    assert "# A card" in card.text
    assert (card.data.datasets, card.data.metrics) == (["someone/pets"], ["exact_match"])  # as the pipeline's card says
    assert 'from_pretrained("someone/tiny", trust_remote_code=True)' in card.text
    results = card.data.eval_results
    assert [(result.dataset_split, result.metric_value) for result in results] == [("test", 0.75), ("test", 0.75)]
    assert results[0].metric_name == "micro by referee: 0.750 [0.700, 0.800]"
    assert (exported[1] / "grid.png").is_file()


def test_the_card_has_a_license_only_if_one_is_named(exported: tuple[Path, Path], tmp_path: Path) -> None:
    assert "license" not in (exported[1] / "README.md").read_text()
    assert export(exported[0], tmp_path / "out", "--license", "apache-2.0") == 0
    card: Any = ModelCard.load(tmp_path / "out" / "README.md")
    assert card.data.license == "apache-2.0"


@pytest.mark.parametrize("path", sorted(ROOT.glob("pretrained/*/README.md")), ids=lambda path: path.parent.name)
def test_the_shipped_cards_have_metadata(path: Path) -> None:
    assert {"license", "library_name", "tags", "datasets", "metrics"} <= ModelCard.load(path).data.to_dict().keys()


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, Any]]:
    """What a Hub is asked, instead of the real one: (function, repository or uploaded card)."""
    asked: list[tuple[str, Any]] = []

    def upload(repo_id: str, folder_path: Path, **_: str) -> None:
        assert {"README.md", "pipeline.py", "model_index.json", "denoiser"} <= {p.name for p in folder_path.iterdir()}
        asked.append((repo_id, ModelCard.load(folder_path / "README.md")))

    monkeypatch.setattr("lab_ddpm.export.hub.create_repo", lambda name, **_: asked.append(("create", name)))
    monkeypatch.setattr("lab_ddpm.export.hub.auth_check", lambda name, **_: asked.append(("check", name)))
    monkeypatch.setattr("lab_ddpm.export.hub.upload_folder", upload)
    return asked


def test_a_run_pushes_its_best_pipeline_at_its_end(
    hub: list[tuple[str, Any]], tiny_dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = ["train", *tiny_arguments(tmp_path, evaluation__metric="none")]
    assert main(arguments) == 0
    assert hub == []
    arguments += ["--push_to_hub", "someone/tiny"]
    assert main(arguments) == 0  # the same run, which is finished
    assert hub[:2] == [("create", "someone/tiny"), ("check", "someone/tiny")]
    ((name, card),) = hub[2:]
    assert name == "someone/tiny"
    assert 'from_pretrained("someone/tiny"' in card.text

    def fail(**_: Any) -> None:
        raise ConnectionError("no network")

    monkeypatch.setattr("lab_ddpm.export.hub.upload_folder", fail)
    assert main(arguments) == 1
    assert (tmp_path / "runs" / "tiny" / "best" / "model_index.json").is_file()


def test_a_run_that_may_not_push_does_not_start(
    hub: list[tuple[str, Any]],
    tiny_dataset: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def refuse(name: str, **_: Any) -> None:
        raise LocalTokenNotFoundError("no token")

    monkeypatch.setattr("lab_ddpm.export.hub.auth_check", refuse)
    for name in ("tiny", "a/b/c", "someone/tiny"):
        assert main(["train", *tiny_arguments(tmp_path, push_to_hub=name)]) == 2
        assert "`push_to_hub`" in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


def test_mistakes_write_nothing(exported: tuple[Path, Path], tmp_path: Path) -> None:
    pipeline, out = exported
    before = sorted(out.rglob("*"))
    assert export(pipeline, out) == 1
    assert sorted(out.rglob("*")) == before
    assert export(tmp_path / "nowhere", tmp_path / "new") == 1
    assert main(["export", "onnx", "--checkpoint", str(pipeline), "--out", str(tmp_path / "new")]) == 2
    assert not (tmp_path / "new").exists()


def test_one_file_cannot_hold_two_definitions_of_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module, text in {"first": "A = 1\n", "second": "from lab_ddpm_first import A\n\nA = 2\n"}.items():
        (tmp_path / f"lab_ddpm_{module}.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ValueError, match="A"):
        one_file.one_file("both", "lab_ddpm_second")
