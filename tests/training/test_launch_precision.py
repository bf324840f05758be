"""The precision that `accelerate launch` was told is used where the config leaves it open."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from lab_ddpm.tools.errors import UserError
from lab_ddpm.training.accelerator import check_machine
from lab_ddpm.training.config_parser import parse_config
from lab_ddpm.training.launch_precision import take_launcher_precision

SCRIPT = """
from lab_ddpm.training.config_parser import parse_config
from lab_ddpm.training.launch_precision import take_launcher_precision
print(take_launcher_precision(parse_config([])).mixed_precision)
"""


def test_a_precision_that_the_config_leaves_open_is_taken_from_the_launcher(tmp_path: Path) -> None:
    script = tmp_path / "train.py"
    script.write_text(SCRIPT, encoding="utf-8")
    command = [sys.executable, "-m", "accelerate.commands.launch", "--mixed_precision", "bf16", str(script)]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"HF_HOME": str(tmp_path)})
    assert done.stdout == "bf16\n", done.stderr


@pytest.mark.parametrize(("told", "notes"), [("no", 0), ("bf16", 0), ("fp16", 1)])
def test_that_of_the_config_goes_before_it_and_is_named(
    told: str, notes: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", told)
    assert take_launcher_precision(parse_config(["--mixed_precision", "bf16"])).mixed_precision == "bf16"
    assert len(capsys.readouterr().out.splitlines()) == notes


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a GPU")
def test_half_precision_of_the_launcher_is_refused_on_a_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "fp16")
    config = take_launcher_precision(parse_config(["--device", "cpu"]))
    assert config.mixed_precision == "fp16"
    with pytest.raises(UserError, match="`mixed_precision`"):
        check_machine(config)
