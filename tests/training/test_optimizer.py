"""Which weights are changed by what."""

import dataclasses

import pytest
import torch

from conftest import tiny_denoiser
from lab_ddpm.data.iclevr import OBJECTS
from lab_ddpm.training.config_sections import OptimizerConfig
from lab_ddpm.training.optimizer import make_optimizer

CONFIG = OptimizerConfig(name="muon", learning_rate=0.01, weight_decay=0.0)


def test_muon_has_the_matrices_within_the_levels_and_adamw_the_rest() -> None:
    denoiser = tiny_denoiser(labels=OBJECTS, teacher_channels=(5, 7))
    matrices, rest = make_optimizer(denoiser, CONFIG).param_groups
    assert (matrices["use_muon"], rest["use_muon"]) == (True, False)
    names = {id(parameter): name for name, parameter in denoiser.named_parameters()}
    ours, others = ({names[id(parameter)] for parameter in group["params"]} for group in (matrices, rest))
    assert len(ours) + len(others) == len(names)
    for name, parameter in denoiser.named_parameters():
        within = any(part in name for part in ("down_blocks", "mid_block", "up_blocks"))
        assert (name in ours) == (within and parameter.ndim > 1), name
    assert {"unet.conv_in.weight", "unet.conv_out.weight", "label_embedding.weight", "projections.0.weight"} <= others


def test_a_step_of_muon_moves_every_matrix_by_the_size_of_a_step_of_adamw() -> None:
    """0.2 of the learning rate for the root mean square of a matrix (arXiv:2502.16982, section 2.2)."""
    denoiser = tiny_denoiser(labels=OBJECTS)
    before = {name: parameter.detach().clone() for name, parameter in denoiser.named_parameters()}
    optimizer = make_optimizer(denoiser, CONFIG)
    random = torch.Generator().manual_seed(0)
    for parameter in denoiser.parameters():
        parameter.grad = torch.randn(parameter.shape, generator=random)
    optimizer.step()
    ours = {id(parameter) for parameter in optimizer.param_groups[0]["params"]}
    for name, parameter in denoiser.named_parameters():
        moved = (parameter.detach() - before[name]).square().mean().sqrt().item()
        expected = 0.2 * 0.01 if id(parameter) in ours else 0.01
        assert moved == pytest.approx(expected, rel=0.25), name


def test_adamw_has_everything_otherwise() -> None:
    denoiser = tiny_denoiser(labels=OBJECTS)
    optimizer = make_optimizer(denoiser, dataclasses.replace(CONFIG, name="adamw"))
    assert isinstance(optimizer, torch.optim.AdamW)
    (group,) = optimizer.param_groups
    assert len(group["params"]) == len(list(denoiser.parameters()))
