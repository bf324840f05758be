"""What `accelerate launch` was told: its precision is used where the config leaves it open; models stay whole."""

import subprocess
import sys

import pytest
import torch

from lab_ddpm.tools.errors import UserError
from lab_ddpm.training.accelerator import check_machine
from lab_ddpm.training.config_parser import parse_config

SCRIPT = """
import sys
from lab_ddpm.training.accelerator import make_accelerator
from lab_ddpm.training.config_parser import parse_config
print(make_accelerator(parse_config(["--device", "cpu", "--mixed_precision", sys.argv[1]])).mixed_precision)
"""


@pytest.mark.parametrize(("own", "used"), [("auto", "bf16"), ("no", "no")])
def test_the_precision_of_the_launcher_is_used_unless_the_config_has_one(
    own: str, used: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "bf16")
    done = subprocess.run([sys.executable, "-c", SCRIPT, own], check=True, capture_output=True, text=True)
    assert done.stdout == f"{used}\n"


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a GPU")
def test_half_precision_of_the_launcher_is_refused_on_a_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "fp16")
    with pytest.raises(UserError, match="`mixed_precision`"):
        check_machine(parse_config(["--device", "cpu"]))


@pytest.mark.parametrize(
    ("way", "value"),
    [("USE_FSDP", "1"), ("USE_DEEPSPEED", "true"), ("USE_MEGATRON_LM", "yes"), ("DYNAMO_BACKEND", "EAGER")],
)
def test_ways_of_accelerate_that_change_the_model_are_refused(
    monkeypatch: pytest.MonkeyPatch, way: str, value: str
) -> None:
    """The variables are those that `accelerate launch --use_fsdp` and so on set."""
    monkeypatch.setenv(f"ACCELERATE_{way}", value)
    with pytest.raises(UserError, match="accelerate must not use"):
        check_machine(parse_config(["--device", "cpu"]))
