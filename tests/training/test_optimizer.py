"""Which weights are changed by what, and Muon against its definition."""

import copy

import pytest
import torch

from conftest import tiny_denoiser
from lab_ddpm.data.iclevr import OBJECTS
from lab_ddpm.training.config import OptimizerConfig
from lab_ddpm.training.optimizer import Muon, make_optimizer, orthogonal


def with_singular_values(values: torch.Tensor, rows: int, columns: int) -> torch.Tensor:
    """A random matrix with these singular values."""
    random = torch.Generator().manual_seed(0)
    left, _ = torch.linalg.qr(torch.randn(rows, len(values), generator=random))
    right, _ = torch.linalg.qr(torch.randn(columns, len(values), generator=random))
    return left @ values.diag() @ right.T


@pytest.mark.parametrize(("rows", "columns"), [(8, 72), (72, 8)])
def test_all_directions_become_equally_long_and_keep_their_directions(rows: int, columns: int) -> None:
    matrix = with_singular_values(torch.logspace(0, -1.5, min(rows, columns)), rows, columns)
    result = orthogonal(matrix)
    found = torch.linalg.svdvals(result)
    assert found.min() > 0.6
    assert found.max() < 1.3
    left, _, right = torch.linalg.svd(matrix, full_matrices=False)
    rotated = left.T @ result @ right.T
    assert (rotated - rotated.diag().diag()).abs().max() < 1e-3


def test_the_short_cut_is_the_iteration_of_the_paper() -> None:
    """Five times X <- a X + b (X X') X + c (X X')^2 X, in float64."""
    matrix = torch.randn(12, 50, generator=torch.Generator().manual_seed(0))
    expected = matrix.double() / matrix.double().norm()
    for _ in range(5):
        square = expected @ expected.T
        expected = 3.4445 * expected - 4.7750 * square @ expected + 2.0315 * square @ square @ expected
    torch.testing.assert_close(orthogonal(matrix), expected.float(), atol=1e-4, rtol=0)
    assert torch.equal(orthogonal(torch.zeros(3, 4)), torch.zeros(3, 4))


def test_a_kernel_moves_along_its_momentum_and_the_rest_as_with_adamw() -> None:
    """0.2 of the learning rate for the root mean square of a matrix (arXiv:2502.16982, section 2.2)."""
    random = torch.Generator().manual_seed(0)
    kernel, bias, still = (torch.nn.Parameter(torch.randn(shape)) for shape in ((16, 4, 3, 3), (16,), (2, 2)))
    other, still_before = copy.deepcopy(bias), still.detach().clone()
    optimizer = Muon([kernel, still], [bias], lr=0.01, weight_decay=0.5)
    adamw = torch.optim.AdamW([other], lr=0.01, weight_decay=0.5)
    momentum = torch.zeros(16, 36)
    for _ in range(3):
        before = kernel.detach().clone()
        kernel.grad, bias.grad = (torch.randn(each.shape, generator=random) for each in (kernel, bias))
        other.grad = bias.grad.clone()
        optimizer.step()
        adamw.step()
        gradient = kernel.grad.flatten(1)
        momentum = 0.95 * momentum + 0.05 * gradient
        step = 0.2 * 6 * orthogonal(0.05 * gradient + 0.95 * momentum)  # 6 is the root of 36 columns
        torch.testing.assert_close(kernel.detach(), before * (1 - 0.005) - 0.01 * step.view_as(kernel))
        assert step.square().mean().sqrt() == pytest.approx(0.2, rel=0.2)
        torch.testing.assert_close(bias, other)
        optimizer.load_state_dict(copy.deepcopy(optimizer.state_dict()))  # as a run that resumes
    assert torch.equal(still, still_before)  # it has no gradient


def test_muon_has_the_matrices_inside_the_levels_and_adamw_the_rest() -> None:
    denoiser = tiny_denoiser(labels=OBJECTS)
    config = OptimizerConfig(name="muon")
    matrices, rest = make_optimizer(denoiser, config).param_groups
    names = {id(parameter): name for name, parameter in denoiser.named_parameters()}
    ours, others = ({names[id(parameter)] for parameter in group["params"]} for group in (matrices, rest))
    assert len(ours) + len(others) == len(names)
    for name, parameter in denoiser.named_parameters():
        inside = any(part in name for part in ("down_blocks", "mid_block", "up_blocks"))
        assert (name in ours) == (inside and parameter.ndim > 1), name


def test_a_state_that_was_read_on_the_cpu_moves_to_the_device_of_the_weights() -> None:
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
