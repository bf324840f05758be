"""One process at a time, one configuration for good."""

from pathlib import Path

import pytest
import yaml

from conftest import tiny_config
from lab_ddpm.tools.errors import DataError, UserError
from lab_ddpm.training.config_parser import parse_config
from lab_ddpm.training.run_folder import claim_run_folder


def test_the_folder_holds_a_config_that_starts_the_same_run(tmp_path: Path) -> None:
    config = tiny_config(tmp_path, objective__loss="l1")
    with claim_run_folder(config, is_main_process=True) as run:
        assert run == tmp_path / "runs" / "tiny"
    assert parse_config(["--config", str(run / "config.yaml")]) == config


def test_a_second_process_is_kept_out_until_the_first_is_done(tmp_path: Path) -> None:
    config = tiny_config(tmp_path)
    # A lock belongs to the open file, so that a second opening in this process stands for one in another.
    with claim_run_folder(config, is_main_process=True) as run:
        with (
            pytest.raises(DataError, match=f"{run}: another process is training this run"),
            claim_run_folder(config, is_main_process=True),
        ):
            pass
        with claim_run_folder(tiny_config(tmp_path, name="other"), is_main_process=True):
            pass
    with claim_run_folder(config, is_main_process=True):
        pass


def test_a_run_that_failed_lets_the_folder_go(tmp_path: Path) -> None:
    config = tiny_config(tmp_path)
    with pytest.raises(ZeroDivisionError), claim_run_folder(config, is_main_process=True):
        raise ZeroDivisionError
    with claim_run_folder(config, is_main_process=True):
        pass


def test_other_settings_are_refused_with_the_old_and_the_new_value(tmp_path: Path) -> None:
    with claim_run_folder(tiny_config(tmp_path), is_main_process=True) as run:
        (run / "states" / "step_0000002").mkdir(parents=True)
        before = (run / "config.yaml").read_bytes()
    changed = tiny_config(tmp_path, seed=7, model__block_out_channels=(32, 32))
    with pytest.raises(UserError) as caught, claim_run_folder(changed, is_main_process=True):
        pass
    message = str(caught.value)
    assert f"{run}/config.yaml is of a run with other settings" in message
    assert "seed was 0, now 7" in message
    assert "model.block_out_channels was [32, 64], now [32, 32]" in message
    assert "choose another `--name`" in message
    assert (run / "config.yaml").read_bytes() == before


def test_settings_that_do_not_change_the_result_may_change(tmp_path: Path) -> None:
    with claim_run_folder(tiny_config(tmp_path), is_main_process=True) as run:
        (run / "states" / "step_0000002").mkdir(parents=True)
    free = {
        "data__num_workers": 3,
        "data__root": "elsewhere",
        "log_every_steps": 9,
        "save_every_steps": 9,
    }
    with claim_run_folder(tiny_config(tmp_path, **free), is_main_process=True) as run:
        settings = yaml.safe_load((run / "config.yaml").read_text(encoding="utf-8"))
    assert settings["data"]["num_workers"] == 3


def test_a_run_that_has_no_state_yet_takes_any_settings(tmp_path: Path) -> None:
    with claim_run_folder(tiny_config(tmp_path), is_main_process=True):
        pass
    changed = tiny_config(tmp_path, seed=7)
    with claim_run_folder(changed, is_main_process=True) as run:
        assert parse_config(["--config", str(run / "config.yaml")]) == changed


def test_a_process_beside_the_main_one_gets_the_folder_and_writes_nothing(tmp_path: Path) -> None:
    config = tiny_config(tmp_path)
    with claim_run_folder(config, is_main_process=False) as run:
        assert run == tmp_path / "runs" / "tiny"
    assert not run.exists()
    with claim_run_folder(config, is_main_process=True), claim_run_folder(config, is_main_process=False):
        pass
