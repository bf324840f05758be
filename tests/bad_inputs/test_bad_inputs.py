"""Bad input of all kinds: one line that says what is wrong, and nothing on the disk has changed.

`cases.yaml` is the table: the command, the files that are put beside it, the exit code, and what the line must say.
"""

from __future__ import annotations

import shlex
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from workplace import put, snapshot

from conftest import TINY_RUN, save_random_classifiers
from lab_ddpm.cli import main
from lab_ddpm.diffusion.pipeline import LabelConditionalPipeline

CASES = yaml.safe_load((Path(__file__).parent / "cases.yaml").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def template(dataset_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set, a random pipeline, random classifiers and the settings of a short run."""
    from conftest import tiny_denoiser
    from lab_ddpm.data.iclevr import OBJECTS

    folder = tmp_path_factory.mktemp("workplace")
    shutil.copytree(dataset_template, folder / "data")
    pipeline = LabelConditionalPipeline(tiny_denoiser(labels=OBJECTS), "ddim")
    pipeline.save_pretrained(folder / "runs/tiny/best")
    save_random_classifiers(folder / "evaluator")
    (folder / "tiny.yaml").write_text(yaml.safe_dump(_nested({**TINY_RUN, "name": "new", "data.root": "data"})))
    return folder


@pytest.mark.parametrize("case", CASES, ids=[f"{index}: {case['command']}" for index, case in enumerate(CASES)])
def test_bad_input(
    case: dict[str, Any],
    template: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    place = shutil.copytree(template, tmp_path / "place")
    monkeypatch.chdir(place)
    for name, content in case.get("files", {}).items():
        put(place / name, content)
    before = snapshot(tmp_path)
    assert main(shlex.split(case["command"])) == case["code"]
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith("lab-ddpm: ")
    assert case["says"] in lines[0]
    assert len(lines) == 1 + case.get("more_lines", 0)
    assert snapshot(tmp_path) == before


def _nested(settings: dict[str, Any]) -> dict[str, Any]:
    nested: dict[str, Any] = {}
    for key, value in settings.items():
        *section, name = key.split(".")
        place = nested.setdefault(section[0], {}) if section else nested
        place[name] = list(value) if isinstance(value, tuple) else value
    return nested
