"""Which pipelines of a run stay on disk, and what best/ and last/ point at, whenever the run was stopped."""

from pathlib import Path

import pytest

from lab_ddpm.diffusion.pipeline import LabelConditionalPipeline
from lab_ddpm.tools.errors import DataError
from lab_ddpm.tools.files import remove
from lab_ddpm.training.progress import (
    Progress,
    keep_pipelines,
    read_progress,
    save_pipeline,
    step_name,
    write_progress,
)


def names(run: Path) -> list[str]:
    return sorted(path.name for path in (run / "pipelines").iterdir())


def test_the_best_and_the_last_stay(tiny_pipeline: LabelConditionalPipeline, tmp_path: Path) -> None:
    progress = Progress()
    for step, score in ((1, 0.5), (2, 0.9), (3, 0.1), (4, 0.2)):
        save_pipeline(tiny_pipeline, tmp_path, step)
        progress.scores[step] = score
        keep_pipelines(tmp_path, progress, keep=1)
    assert names(tmp_path) == ["step_0000002", "step_0000004"]
    assert (tmp_path / "best").resolve().name == "step_0000002"
    assert (tmp_path / "last").resolve().name == "step_0000004"
    assert Progress(scores={1: 0.5, 2: 0.7, 3: 0.7}).best_steps(2) == [3, 2]  # of equal ones the later


def test_a_run_that_resumes_from_the_state_before_finds_its_best(
    tiny_pipeline: LabelConditionalPipeline, tmp_path: Path
) -> None:
    before, newest = Progress(scores={1: 0.5}), Progress(scores={1: 0.5, 2: 0.9})
    for step, progress in ((1, before), (2, newest)):
        save_pipeline(tiny_pipeline, tmp_path, step)
        write_progress(tmp_path / "states" / step_name(step), progress)
        keep_pipelines(tmp_path, progress, keep=1)
    remove(tmp_path / "states" / step_name(2))
    keep_pipelines(tmp_path, read_progress(tmp_path / "states" / step_name(1)), keep=1)
    assert names(tmp_path) == ["step_0000001"]
    for link in ("best", "last"):
        assert (tmp_path / link / "model_index.json").is_file()


@pytest.mark.parametrize("change", [lambda text: "[]", lambda text: text[:-4], lambda text: text.replace("16", "17")])
def test_a_changed_progress_is_named(tmp_path: Path, change) -> None:
    write_progress(tmp_path, Progress(step=16, scores={8: 0.5}))
    assert read_progress(tmp_path) == Progress(step=16, scores={8: 0.5})
    file = tmp_path / "progress.json"
    file.write_text(change(file.read_text(encoding="utf-8")), encoding="utf-8")
    with pytest.raises(DataError, match=r"progress\.json"):
        read_progress(tmp_path)
