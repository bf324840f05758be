"""Muon against its definition, and its AdamW against PyTorch's."""

import copy

import pytest
import torch

from lab_ddpm.training.muon import Muon, orthogonal


def with_singular_values(values: torch.Tensor, rows: int, columns: int, seed: int = 0) -> torch.Tensor:
    """A random matrix of these singular values."""
    random = torch.Generator().manual_seed(seed)
    left, _ = torch.linalg.qr(torch.randn(rows, len(values), generator=random))
    right, _ = torch.linalg.qr(torch.randn(columns, len(values), generator=random))
    return left @ values.diag() @ right.T


@pytest.mark.parametrize(("rows", "columns"), [(8, 8), (8, 72), (72, 8), (5, 1)])
def test_all_directions_come_out_alike_and_none_is_turned(rows: int, columns: int) -> None:
    values = torch.logspace(0, -1.5, min(rows, columns))
    matrix = with_singular_values(values, rows, columns)
    result = orthogonal(matrix)
    assert result.shape == matrix.shape
    found = torch.linalg.svdvals(result)
    assert found.min() > 0.6
    assert found.max() < 1.3
    left, _, right = torch.linalg.svd(matrix, full_matrices=False)
    rotated = left.T @ result @ right.T
    assert (rotated - rotated.diag().diag()).abs().max() < 1e-3  # the singular vectors are those of the matrix


def test_the_short_cut_is_the_iteration_of_the_paper() -> None:
    """Five times X <- a X + b (X X') X + c (X X')^2 X, in float64."""
    matrix = torch.randn(12, 50, generator=torch.Generator().manual_seed(0))
    expected = matrix.double() / matrix.double().norm()
    for _ in range(5):
        square = expected @ expected.T
        expected = 3.4445 * expected - 4.7750 * square @ expected + 2.0315 * square @ square @ expected
    torch.testing.assert_close(orthogonal(matrix), expected.float(), atol=1e-4, rtol=0)


def test_nothing_comes_of_nothing() -> None:
    assert torch.equal(orthogonal(torch.zeros(3, 4)), torch.zeros(3, 4))


def test_a_kernel_moves_along_its_momentum_by_the_size_of_a_step_of_adamw() -> None:
    """0.2 of the learning rate for the root mean square of a matrix (arXiv:2502.16982, section 2.2)."""
    random = torch.Generator().manual_seed(0)
    kernel = torch.nn.Parameter(torch.randn(16, 4, 3, 3, generator=random))
    optimizer = Muon([kernel], [], lr=0.01, weight_decay=0.5)
    momentum = torch.zeros(16, 36)
    for _ in range(2):
        before = kernel.detach().clone()
        kernel.grad = torch.randn(kernel.shape, generator=random)
        optimizer.step()
        gradient = kernel.grad.flatten(1)
        momentum = 0.95 * momentum + 0.05 * gradient
        step = 0.2 * 6 * orthogonal(0.05 * gradient + 0.95 * momentum)  # 6 is the root of 36 columns
        torch.testing.assert_close(kernel.detach(), before * (1 - 0.005) - 0.01 * step.view_as(kernel))
        assert step.square().mean().sqrt() == pytest.approx(0.2, rel=0.2)


def test_the_rest_is_adamw() -> None:
    random = torch.Generator().manual_seed(0)
    ours = [torch.nn.Parameter(torch.randn(shape, generator=random)) for shape in ((3,), (4, 2))]
    theirs = copy.deepcopy(ours)
    optimizers = [
        Muon([], ours, lr=0.01, weight_decay=0.1),
        torch.optim.AdamW(theirs, lr=0.01, weight_decay=0.1, betas=(0.9, 0.999)),
    ]
    for _ in range(3):
        for one, other in zip(ours, theirs, strict=True):
            one.grad = torch.randn(one.shape, generator=random)
            other.grad = one.grad.clone()
        for optimizer in optimizers:
            optimizer.step()
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other)


def test_parameters_without_a_gradient_stay() -> None:
    kernel, bias = torch.nn.Parameter(torch.ones(2, 2)), torch.nn.Parameter(torch.ones(2))
    Muon([kernel], [bias], lr=0.1, weight_decay=0.1).step()
    assert torch.equal(kernel, torch.ones(2, 2))
    assert torch.equal(bias, torch.ones(2))
