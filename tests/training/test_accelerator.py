"""Models stay whole: other ways of accelerate are refused."""

import pytest

from lab_ddpm.tools.errors import UserError
from lab_ddpm.training.accelerator import check_machine
from lab_ddpm.training.config_parser import parse_config


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
