"""What an installed wheel brings is enough in an empty folder."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import lab_ddpm

ROOT = Path(__file__).parents[1]
BUILD = "import sys; from hatchling.build import build_wheel; print(build_wheel(sys.argv[1]))"


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The unpacked wheel of this checkout."""
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run([sys.executable, "-c", BUILD, str(folder)], cwd=ROOT, check=True, capture_output=True)
    (wheel,) = folder.glob("*.whl")
    zipfile.ZipFile(wheel).extractall(folder / "site")
    return folder / "site"


def run(installed: Path, folder: Path, *arguments: str) -> str:
    """Run Python in `folder`, with the unpacked wheel before the editable install."""
    environment = {**os.environ, "PYTHONPATH": str(installed)}
    done = subprocess.run(
        [sys.executable, *arguments], cwd=folder, env=environment, capture_output=True, text=True, check=True
    )
    return done.stdout


def test_the_snippet_runs(installed: Path, tmp_path: Path) -> None:
    _, snippet = (lab_ddpm.__doc__ or "").split("\n\n", 1)
    output = run(installed, tmp_path, "-c", f"{snippet}\nprint(pipe.config._name_or_path)")
    assert output.startswith("{'micro': {'mean': ")
    assert output.strip().endswith(str(installed / "lab_ddpm/shipped/pretrained/iclevr-cpu"))


def test_a_list_is_sampled_and_scored(installed: Path, tmp_path: Path) -> None:
    arguments = ["--split", "test", "--steps", "1", "--checkpoint", "pretrained/iclevr-cpu"]
    assert "wrote 32 images" in run(installed, tmp_path, "-m", "lab_ddpm", "generate", *arguments)
    output = run(installed, tmp_path, "-m", "lab_ddpm", "evaluate", "--images", "generated/test", "--split", "test")
    assert str(installed / "lab_ddpm/shipped/evaluator/referee.safetensors") in output
    assert (tmp_path / "evaluation" / "metrics.json").is_file()


def test_it_holds_nothing_but_the_package_and_what_git_knows(installed: Path) -> None:
    known = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False).stdout.split()
    if not known:
        pytest.skip("no git checkout")
    shipped = installed / "lab_ddpm" / "shipped"
    names = {path.relative_to(shipped).as_posix() for path in shipped.rglob("*") if path.is_file()}
    names = {name for name in names if "__pycache__" not in name}
    assert names <= set(known)
    assert {"configs/iclevr_cpu.yaml", "scripts/train.py", "evaluator/resnet18.safetensors"} <= names
