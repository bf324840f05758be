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


def test_a_run_that_goes_on_from_the_state_before_finds_its_best(
    tiny_pipeline: LabelConditionalPipeline, tmp_path: Path
) -> None:
    before, newest = Progress(scores={1: 0.5}), Progress(scores={1: 0.5, 2: 0.9})
    for step, progress in ((1, before), (2, newest)):
        save_pipeline(tiny_pipeline, tmp_path, step)
        write_progress(tmp_path / "states" / step_name(step), progress)
        keep_pipelines(tmp_path, progress, keep=1)
    assert (tmp_path / "best").resolve().name == "step_0000002"
    remove(tmp_path / "states" / step_name(2))
    keep_pipelines(tmp_path, read_progress(tmp_path / "states" / step_name(1)), keep=1)
    assert names(tmp_path) == ["step_0000001"]
    for link in ("best", "last"):
        assert (tmp_path / link / "model_index.json").is_file()


@pytest.mark.parametrize("content", ["[]", '{"steps": 1}', '{"scores": {"x": 1}}', "{"])
def test_a_broken_progress_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / "progress.json").write_text(content, encoding="utf-8")
    with pytest.raises(DataError, match=r"progress\.json"):
        read_progress(tmp_path)


def test_a_changed_progress_is_named(tmp_path: Path) -> None:
    write_progress(tmp_path, Progress(step=16, scores={8: 0.5}))
    assert read_progress(tmp_path) == Progress(step=16, scores={8: 0.5})
    file = tmp_path / "progress.json"
    file.write_text(file.read_text(encoding="utf-8").replace("16", "17"), encoding="utf-8")
    with pytest.raises(DataError, match="not what was written: damaged, or changed since"):
        read_progress(tmp_path)


def test_of_equal_ones_the_newest_is_the_best() -> None:
    assert Progress(scores={1: 0.5, 2: 0.7, 3: 0.7}).best_steps(2) == [3, 2]


def test_a_pipeline_that_no_state_knows_of_is_replaced(tiny_pipeline: LabelConditionalPipeline, tmp_path: Path) -> None:
    save_pipeline(tiny_pipeline, tmp_path, 1)
    keep_pipelines(tmp_path, Progress(scores={1: 0.5}), keep=1)
    save_pipeline(tiny_pipeline, tmp_path, 2)  # and the run is killed before its state
    keep_pipelines(tmp_path, Progress(scores={1: 0.5}), keep=1)
    assert names(tmp_path) == ["step_0000001"]
    assert (tmp_path / "best" / "model_index.json").is_file()
    other = LabelConditionalPipeline(tiny_pipeline.denoiser, tiny_pipeline.scheduler, guidance_scale=3.0)
    save_pipeline(other, tmp_path, 1)
    assert '"guidance_scale": 3.0' in (tmp_path / "best" / "model_index.json").read_text(encoding="utf-8")
