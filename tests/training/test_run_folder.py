"""One process at a time trains in a folder, with one configuration."""

from pathlib import Path

import pytest

from conftest import tiny_config
from lab_ddpm.tools.errors import DataError, UserError
from lab_ddpm.training.config_parser import parse_config
from lab_ddpm.training.run_folder import claim_run_folder


def test_a_second_process_is_kept_out_until_the_first_is_done(tmp_path: Path) -> None:
    config = tiny_config(tmp_path)
    # A lock belongs to the open file, so a second opening in this process stands for one in another process.
    with claim_run_folder(config, is_main_process=True) as run:
        with pytest.raises(DataError, match=str(run)), claim_run_folder(config, is_main_process=True):
            pass
        with claim_run_folder(tiny_config(tmp_path, name="other"), is_main_process=True):
            pass
        with claim_run_folder(config, is_main_process=False):  # another process of the same launch
            pass
    with pytest.raises(ZeroDivisionError), claim_run_folder(config, is_main_process=True):
        raise ZeroDivisionError
    with claim_run_folder(config, is_main_process=True) as run:
        assert run == tmp_path / "runs" / "tiny"


def test_other_settings_are_refused_with_the_old_and_the_new_value(tmp_path: Path) -> None:
    with claim_run_folder(tiny_config(tmp_path, seed=3), is_main_process=True):
        pass
    with claim_run_folder(tiny_config(tmp_path), is_main_process=True) as run:  # there is no state yet
        (run / "states" / "step_0000002").mkdir(parents=True)
        before = (run / "config.yaml").read_bytes()
    changed = tiny_config(tmp_path, seed=7, model__block_out_channels=(32, 32))
    with pytest.raises(UserError) as caught, claim_run_folder(changed, is_main_process=True):
        pass
    for part in ("seed was 0, now 7", "model.block_out_channels", "[32, 64]", "[32, 32]", "--name"):
        assert part in str(caught.value)
    assert (run / "config.yaml").read_bytes() == before


def test_settings_that_do_not_change_the_result_may_change(tmp_path: Path) -> None:
    with claim_run_folder(tiny_config(tmp_path), is_main_process=True) as run:
        (run / "states" / "step_0000002").mkdir(parents=True)
    config = tiny_config(tmp_path, data__num_workers=3, data__root="elsewhere", log_every_steps=9, save_every_steps=9)
    with claim_run_folder(config, is_main_process=True) as run:
        assert parse_config(["--config", str(run / "config.yaml")]) == config
