"""What an installed wheel brings is enough in an empty folder."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
BUILD = "import sys; from hatchling.build import build_wheel; print(build_wheel(sys.argv[1]))"
USE = """
from lab_ddpm.cli import main
from lab_ddpm.tools.shipped import find_shipped
assert main(["generate", "--split", "test", "--steps", "1"]) == 0
assert main(["evaluate", "--images", "generated/test", "--split", "test"]) == 0
assert main(["--help"]) == 0
files = ("pretrained/iclevr-cpu", "configs/iclevr_cpu.yaml", "evaluator/counter.safetensors")
print(*(find_shipped(file).resolve() for file in files))
"""


def test_a_wheel_generates_and_evaluates_in_an_empty_folder(tmp_path: Path) -> None:
    built, site, empty = (tmp_path / name for name in ("built", "site", "empty"))
    empty.mkdir()
    subprocess.run([sys.executable, "-c", BUILD, str(built)], cwd=ROOT, check=True, capture_output=True)
    (wheel,) = built.glob("*.whl")
    zipfile.ZipFile(wheel).extractall(site)
    environment = {**os.environ, "PYTHONPATH": str(site)}  # comes before the editable install
    done = subprocess.run(
        [sys.executable, "-c", USE], cwd=empty, env=environment, capture_output=True, text=True, check=True
    )
    shipped = site / "lab_ddpm" / "shipped"
    found = ("pretrained/iclevr-cpu", "configs/iclevr_cpu.yaml", "evaluator/counter.safetensors")
    assert done.stdout.splitlines()[-1] == " ".join(f"{shipped}/{file}" for file in found)
    assert len(list((empty / "generated/test").glob("[0-9]*.png"))) == 32
    assert (empty / "evaluation" / "metrics.json").is_file()
    check_that_git_knows(shipped)


def check_that_git_knows(shipped: Path) -> None:
    """No file that a run or a command wrote into the checkout is in the wheel."""
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False)
    names = {path.relative_to(shipped).as_posix() for path in shipped.rglob("*") if path.is_file()}
    unknown = {name for name in names if "__pycache__" not in name} - set(listed.stdout.split())
    assert not unknown or listed.returncode  # no git checkout
