"""What `accelerate launch` was told is used where the config leaves it open."""

import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
import torch

from lab_ddpm.tools.errors import UserError
from lab_ddpm.training.accelerator import check_machine
from lab_ddpm.training.config_parser import parse_config
from lab_ddpm.training.launcher import take_launcher_settings

SCRIPT = """
import sys
from lab_ddpm.training.config_parser import parse_config
from lab_ddpm.training.launcher import take_launcher_settings
config = take_launcher_settings(parse_config(sys.argv[1:]))
print(config.mixed_precision, config.gradient_accumulation_steps)
"""


def test_a_setting_that_the_config_leaves_open_is_taken_from_the_launcher(tmp_path: Path) -> None:
    script = tmp_path / "train.py"
    script.write_text(SCRIPT, encoding="utf-8")
    launch = [sys.executable, "-m", "accelerate.commands.launch", "--mixed_precision", "no"]
    command = [*launch, "--gradient_accumulation_steps", "2", str(script), "--batch_size", "32"]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"HF_HOME": str(tmp_path)})
    assert done.stdout == "no 2\n", done.stderr


@pytest.mark.parametrize(
    ("options", "passed_on", "expected", "notes"),
    [
        ("", "no", ("bf16", 2), 0),
        ("--mixed_precision=fp16", "fp16", ("bf16", 2), 1),
        ("--mixed-precision bf16 --gradient-accumulation-steps 4", "bf16", ("bf16", 2), 1),
    ],
)
def test_a_setting_of_the_config_goes_before_it_and_is_named(
    options: str,
    passed_on: str,
    expected: tuple[str, int],
    notes: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", passed_on)
    command = ["python", "/bin/accelerate", "launch", *options.split(), "train.py", "--mixed_precision", "no"]
    monkeypatch.setattr(psutil.Process, "cmdline", lambda _: command)
    config = parse_config(["--mixed_precision", "bf16", "--gradient_accumulation_steps", "2"])
    config = take_launcher_settings(config)
    assert (config.mixed_precision, config.gradient_accumulation_steps) == expected
    assert len(capsys.readouterr().out.splitlines()) == notes


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a GPU")
def test_half_precision_of_the_launcher_is_refused_on_a_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "fp16")
    config = take_launcher_settings(parse_config(["--device", "cpu"]))
    assert config.mixed_precision == "fp16"
    with pytest.raises(UserError, match="`mixed_precision`"):
        check_machine(config)
