"""Images of one condition list are not taken for those of another one."""

import json
from pathlib import Path

import pytest

from lab_ddpm.generation.manifest import check_manifest
from lab_ddpm.tools.errors import UserError


def test_a_manifest_must_name_the_same_conditions(tmp_path: Path) -> None:
    assert check_manifest(tmp_path, [("red cube",)]) == 1
    manifest = {"images": [{"file": "00.png", "condition": ["red cube"]}], "tries": 4}
    (tmp_path / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    assert check_manifest(tmp_path, [("red cube",)]) == 4
    with pytest.raises(UserError, match=r"manifest\.json"):
        check_manifest(tmp_path, [("gray cube",)])
    (tmp_path / "manifest.json").write_text("[3]", encoding="utf-8")
    assert check_manifest(tmp_path, [("gray cube",)]) == 1
