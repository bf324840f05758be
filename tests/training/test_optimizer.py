"""Which weights are changed by what."""

import dataclasses

import torch

from conftest import tiny_denoiser
from lab_ddpm.data.iclevr import OBJECTS
from lab_ddpm.training.config_sections import OptimizerConfig
from lab_ddpm.training.muon import Muon
from lab_ddpm.training.optimizer import make_optimizer

CONFIG = OptimizerConfig(name="muon", learning_rate=0.01, weight_decay=0.0)


def test_muon_has_the_matrices_within_the_levels_and_adamw_the_rest() -> None:
    denoiser = tiny_denoiser(labels=OBJECTS)
    matrices, rest = make_optimizer(denoiser, CONFIG).param_groups
    assert (matrices["orthogonal"], rest["orthogonal"]) == (True, False)
    names = {id(parameter): name for name, parameter in denoiser.named_parameters()}
    ours, others = ({names[id(parameter)] for parameter in group["params"]} for group in (matrices, rest))
    assert len(ours) + len(others) == len(names)
    for name, parameter in denoiser.named_parameters():
        within = any(part in name for part in ("down_blocks", "mid_block", "up_blocks"))
        assert (name in ours) == (within and parameter.ndim > 1), name
    assert {"unet.conv_in.weight", "unet.conv_out.weight", "label_embedding.weight"} <= others


def test_adamw_has_everything_otherwise() -> None:
    denoiser = tiny_denoiser(labels=OBJECTS)
    optimizer = make_optimizer(denoiser, dataclasses.replace(CONFIG, name="adamw"))
    assert isinstance(optimizer, torch.optim.AdamW)
    (group,) = optimizer.param_groups
    assert len(group["params"]) == len(list(denoiser.parameters()))


def test_a_state_that_was_read_on_the_cpu_comes_to_the_device_of_the_weights() -> None:
    """ "meta" stands for a GPU: PyTorch leaves "step" of most optimizers on the CPU, which fused AdamW cannot take."""
    weights = [torch.nn.Parameter(torch.ones(2, 3)), torch.nn.Parameter(torch.ones(3))]
    for weight in weights:
        weight.grad = torch.ones_like(weight)
    trained = Muon(weights[:1], weights[1:], lr=0.1, weight_decay=0.0)
    trained.step()
    elsewhere = [torch.nn.Parameter(weight.to("meta")) for weight in weights]
    resumed = Muon(elsewhere[:1], elsewhere[1:], lr=0.1, weight_decay=0.0)
    resumed.load_state_dict(trained.state_dict())
    assert {value.device.type for state in resumed.state.values() for value in state.values()} == {"meta"}
