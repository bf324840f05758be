"""Images of one condition list are not taken for those of another one."""

import json
from pathlib import Path

import pytest

from lab_ddpm.drawing.generated import GeneratedFolder
from lab_ddpm.generation.manifest import check_manifest
from lab_ddpm.tools.errors import DataError, UserError


def test_a_manifest_must_name_the_same_conditions(tmp_path: Path) -> None:
    check_manifest(tmp_path, [("red cube",)])
    manifest = {"images": [{"file": "00.png", "condition": ["red cube"]}]}
    (tmp_path / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    check_manifest(tmp_path, [("red cube",)])
    with pytest.raises(UserError, match=r"manifest\.json"):
        check_manifest(tmp_path, [("gray cube",)])
    for foreign in ("[3]", '{"images": [{"file": "../mine.txt", "condition": []}]}'):
        (tmp_path / "manifest.json").write_text(foreign, encoding="utf-8")
        check_manifest(tmp_path, [("gray cube",)])
        with pytest.raises(DataError):  # it would delete the files of the manifest
            GeneratedFolder(tmp_path)
