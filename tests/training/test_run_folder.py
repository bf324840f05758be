"""One process at a time trains in a folder, with one configuration, and its best and last pipelines stay."""

import itertools
from pathlib import Path

import pytest
from accelerate import Accelerator

from conftest import tiny_config
from lab_ddpm.diffusion.pipeline import LabelConditionalPipeline
from lab_ddpm.tools.errors import DataError, UserError
from lab_ddpm.tools.files import remove
from lab_ddpm.training.accelerator import make_accelerator
from lab_ddpm.training.config import TrainConfig
from lab_ddpm.training.config_parser import parse_config
from lab_ddpm.training.progress import Progress, read_progress, step_name, write_progress
from lab_ddpm.training.run_folder import claim_run_folder, keep_pipelines, save_pipeline, write_settings


@pytest.fixture
def accelerator(tmp_path: Path) -> Accelerator:
    return make_accelerator(tiny_config(tmp_path))


def test_a_second_process_is_kept_out_until_the_first_is_done(tmp_path: Path, accelerator: Accelerator) -> None:
    config = tiny_config(tmp_path)
    # A lock belongs to the open file, so a second opening in this process stands for one in another process.
    with claim_run_folder(config, accelerator) as run:
        with pytest.raises(DataError, match=str(run)), claim_run_folder(config, accelerator):
            pass
        with claim_run_folder(tiny_config(tmp_path, name="other"), accelerator):
            pass
    with pytest.raises(ZeroDivisionError), claim_run_folder(config, accelerator):
        raise ZeroDivisionError
    with claim_run_folder(config, accelerator) as run:
        assert run == tmp_path / "runs" / "tiny"


def begin(config: TrainConfig) -> Path:
    """A run with these settings and an empty state."""
    run = Path(config.runs_dir) / config.name
    (run / "states" / "step_0000002").mkdir(parents=True)
    write_settings(config, run)
    return run


def test_other_settings_are_refused_with_the_old_and_the_new_value(tmp_path: Path, accelerator: Accelerator) -> None:
    begin(tiny_config(tmp_path))
    changed = tiny_config(tmp_path, seed=7, model__block_out_channels=(32, 32))
    with pytest.raises(UserError) as caught, claim_run_folder(changed, accelerator):
        pass
    for part in ("seed was 0, now 7", "model.block_out_channels", "[32, 64]", "[32, 32]", "--name"):
        assert part in str(caught.value)


def test_a_setting_that_is_newer_than_the_run_had_its_default(tmp_path: Path, accelerator: Accelerator) -> None:
    config = tiny_config(tmp_path)
    path = begin(config) / "config.yaml"
    path.write_text(path.read_text(encoding="utf-8").replace("  object_weight: 1.0\n", ""), encoding="utf-8")
    assert "object_weight" not in path.read_text(encoding="utf-8")
    with claim_run_folder(config, accelerator):
        pass
    changed = tiny_config(tmp_path, loss__object_weight=2.0)
    with (
        pytest.raises(UserError, match=r"loss\.object_weight was 1\.0, now 2\.0"),
        claim_run_folder(changed, accelerator),
    ):
        pass


def test_a_mapping_in_a_section_is_one_setting(tmp_path: Path, accelerator: Accelerator) -> None:
    for first, second in itertools.permutations(("null", '{"act_fn": "gelu"}', '{"norm_eps": 0.001}'), 2):
        run = begin(tiny_config(tmp_path, model__unet_options=first))
        changed = tiny_config(tmp_path, model__unet_options=second)
        with pytest.raises(UserError, match=r"model\.unet_options was"), claim_run_folder(changed, accelerator):
            pass
        remove(run)


def test_settings_that_do_not_change_the_result_may_change(tmp_path: Path, accelerator: Accelerator) -> None:
    run = begin(tiny_config(tmp_path))
    config = tiny_config(tmp_path, data__num_workers=3, data__root="elsewhere", log_every_steps=9, save_every_steps=9)
    with claim_run_folder(config, accelerator):
        write_settings(config, run)
    assert parse_config(["--config", str(run / "config.yaml")]) == config


def test_a_refused_run_leaves_no_folder(tmp_path: Path, accelerator: Accelerator) -> None:
    with pytest.raises(UserError), claim_run_folder(tiny_config(tmp_path), accelerator):
        raise UserError("the images do not fit")
    assert not (tmp_path / "runs" / "tiny").exists()


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
