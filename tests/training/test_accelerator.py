"""The device and the precision of a run, and what is said where there is no such thing."""

from dataclasses import replace

import pytest

from lab_ddpm.tools.errors import UserError
from lab_ddpm.training.accelerator import cpu_preset, make_accelerator
from lab_ddpm.training.config import TrainConfig


def test_two_precisions_in_one_process_are_refused() -> None:
    config = TrainConfig(device="cpu", mixed_precision="no")
    assert make_accelerator(config).mixed_precision == "no"
    with pytest.raises(UserError, match="`device` and `mixed_precision` must be the same all the time"):
        make_accelerator(replace(config, mixed_precision="bf16"))


def test_only_a_network_on_single_pixels_is_sent_to_the_preset_for_a_cpu() -> None:
    config = TrainConfig(device="cpu")
    assert cpu_preset(config) == "configs/iclevr_cpu.yaml"
    assert cpu_preset(replace(config, model=replace(config.model, patch_size=2))) is None
    flowers = replace(config.data, dataset="flowers102")
    unscored = replace(config.evaluation, metric="none")
    assert cpu_preset(replace(config, data=flowers, evaluation=unscored)) is None
