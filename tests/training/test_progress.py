"""A progress that was changed on the disk is noticed."""

from pathlib import Path

import pytest

from lab_ddpm.tools.errors import DataError
from lab_ddpm.training.progress import Progress, read_progress, write_progress


@pytest.mark.parametrize("change", [lambda text: "[]", lambda text: text[:-4], lambda text: text.replace("16", "17")])
def test_a_changed_progress_is_named(tmp_path: Path, change) -> None:
    write_progress(tmp_path, Progress(step=16, scores={8: 0.5}))
    assert read_progress(tmp_path) == Progress(step=16, scores={8: 0.5})
    file = tmp_path / "progress.json"
    file.write_text(change(file.read_text(encoding="utf-8")), encoding="utf-8")
    with pytest.raises(DataError, match=r"progress\.json"):
        read_progress(tmp_path)
