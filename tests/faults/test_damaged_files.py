"""A flipped byte, or a cut, in every file that a run writes or reads is noticed in one line or has no effect.

The good files stay: when the damaged file is restored, or removed as the line says, the same command continues.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from conftest import save_random_classifiers, tiny_arguments
from lab_ddpm.cli import main
from lab_ddpm.export.programs import export_onnx

pytestmark = pytest.mark.slow

RUN = Path("runs/tiny")
LAYOUT = {"model__layout_scale": 2.0, "model__prediction_type": "sample", "model__layout_dropout": 0.1}
LAYOUT["model__places_dropout"] = 0.1
GENERATE = ["generate", "--checkpoint", str(RUN / "best"), "--split", "data/few.json", "--steps", "2"]


@pytest.fixture(scope="module")
def trained(dataset_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with data, classifiers and a run that is at its end."""
    from lab_ddpm.generation.checkpoint import load_pipeline

    place = tmp_path_factory.mktemp("faults")
    shutil.copytree(dataset_template, place / "data")
    (place / "data" / "few.json").write_text('[["red cube"], ["cyan sphere", "gray cube"]]')
    save_random_classifiers(place / "evaluator")
    here = Path.cwd()
    os.chdir(place)
    try:
        assert main(["train", *arguments()]) == 0
        shutil.copytree(RUN / "last", "last")
        export_onnx(load_pipeline(RUN / "best").denoiser, RUN / "best")
        assert main([*GENERATE, "--out", "expected"]) == 0
    finally:
        os.chdir(here)
    return place


def arguments() -> list[str]:
    return tiny_arguments(Path(), **LAYOUT)


DAMAGED = {
    "train": [
        "states/step_0000004/denoiser.safetensors",
        "states/step_0000004/training.pt",
        "states/step_0000004/progress.json",
        "states/step_0000004/SHA256SUMS.txt",
        "metrics.jsonl",
        "config.yaml",
        "data/.cache/train.json",
        "data/.cache/train-16x16-*.npy",
        "data/.cache/masks-16x16-*.npy",
        "data/.cache/train-16x16-*.npy.sha256",
        "data/train.json",
        "data/images/CLEVR_train_000003_1.png",
        "data/masks/CLEVR_train_000003_1.png",
    ],
    "generate": [
        "best/denoiser/diffusion_pytorch_model.safetensors",
        "best/denoiser/config.json",
        "best/denoiser/SHA256SUMS.txt",
        "best/scheduler/scheduler_config.json",
        "best/model_index.json",
        "best/denoiser.onnx",
        "best/SHA256SUMS.txt",
        "data/few.json",
    ],
}


@pytest.mark.parametrize("how", ["a flipped byte", "a cut"])
@pytest.mark.parametrize(("command", "file"), [(command, file) for command in DAMAGED for file in DAMAGED[command]])
def test_damage_is_noticed_or_has_no_effect(
    command: str,
    file: str,
    how: str,
    trained: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    place = shutil.copytree(trained, tmp_path / "place", symlinks=True)
    monkeypatch.chdir(place)
    if command == "train":  # two steps are left to do
        shutil.rmtree(RUN / "states" / "step_0000006")
    (path,) = (place if file.startswith("data") else place / RUN).glob(file)
    content = path.read_bytes()
    middle = len(content) * 6 // 10
    path.write_bytes(
        content[:middle] if how == "a cut" else content[:middle] + bytes([content[middle] ^ 8]) + content[middle + 1 :]
    )
    before = {path: path.read_bytes() for path in sorted((place / RUN).rglob("*.safetensors"))}
    capsys.readouterr()
    code = main(["train", *arguments()] if command == "train" else GENERATE)
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("lab-ddpm: ")]
    if code:
        assert {path: path.read_bytes() for path in sorted((place / RUN).rglob("*.safetensors"))} == before
        assert code in (1, 2)
        assert len(lines) == 1
        inside = [folder.relative_to(place) for folder in path.parents[:2] if place / RUN in folder.parents]
        assert any(str(named) in lines[0] for named in (path.name, *inside))  # its state's or checkpoint's folder
        return
    assert not lines
    made, expected = (Path("generated/few"), "expected") if command == "generate" else (RUN / "last", "last")
    for file in (file for pattern in ("*.png", "**/*.safetensors") for file in Path(expected).glob(pattern)):
        same = (made / file.relative_to(expected)).read_bytes() == file.read_bytes()
        assert same, f"{file}: neither noticed nor without effect"
