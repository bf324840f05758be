"""Muon (arXiv:2502.16982): the momentum of each matrix is made orthogonal before it is taken as a step.

    M   = 0.95 M + 0.05 G,   U = 0.95 M + 0.05 G                      Nesterov's momentum of the gradient G
    W  <- W - lr (0.2 sqrt(max(rows, columns)) orthogonal(U) + weight_decay W)

The factor gives a step the size of one of AdamW, so one learning rate serves both. A kernel is the matrix
(out, in * height * width).

The libraries at hand (timm, pytorch-optimizer, PyTorch itself) make matrices orthogonal in bfloat16, which processors
without instructions for it emulate: there a step took 16 times as long as with the float32 here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch.optim.adamw import adamw

_MOMENTUM = 0.95
_BETAS, _EPS = (0.9, 0.999), 1e-8
_ROUNDS, _COEFFICIENTS = 5, (3.4445, -4.7750, 2.0315)  # of Newton-Schulz, arXiv:2502.16982, section 2.1


class Muon(torch.optim.Optimizer):
    """Muon for matrices and kernels, AdamW (betas 0.9 and 0.999) for the rest.

    Args:
        matrices: Parameters of two dimensions or more.
        rest: All others.
        lr: Learning rate of both.
        weight_decay: Of both, decoupled from the gradient.
    """

    def __init__(
        self, matrices: Sequence[torch.Tensor], rest: Sequence[torch.Tensor], lr: float, weight_decay: float
    ) -> None:
        # "fused" is also what makes `load_state_dict` bring each "step" to its parameter's device
        groups: list[dict[str, Any]] = [
            {"params": matrices, "orthogonal": True},
            {"params": rest, "orthogonal": False, "fused": True},
        ]
        super().__init__(groups, {"lr": lr, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Change the parameters that have a gradient; a `closure` is not called."""
        for group in self.param_groups:
            parameters = [parameter for parameter in group["params"] if parameter.grad is not None]
            if group["orthogonal"]:
                for parameter in parameters:
                    self._muon(parameter, group["lr"], group["weight_decay"])
            else:
                self._adamw(parameters, group["lr"], group["weight_decay"])

    def _muon(self, parameter: torch.Tensor, lr: float, weight_decay: float) -> None:
        state, gradient = self.state[parameter], parameter.grad
        assert gradient is not None
        if not state:
            state["momentum"] = torch.zeros_like(parameter)
        state["momentum"].lerp_(gradient, 1 - _MOMENTUM)
        update = orthogonal(gradient.lerp(state["momentum"], _MOMENTUM).flatten(1))
        parameter.mul_(1 - lr * weight_decay)
        parameter.add_(update.view_as(parameter), alpha=-lr * 0.2 * max(update.shape) ** 0.5)

    def _adamw(self, parameters: list[torch.Tensor], lr: float, weight_decay: float) -> None:
        states: list[dict[str, Any]] = [self.state[parameter] for parameter in parameters]
        for parameter, state in zip(parameters, states, strict=True):
            if not state:
                state["step"] = torch.zeros((), device=parameter.device)
                state["mean"], state["square"] = torch.zeros_like(parameter), torch.zeros_like(parameter)
        adamw(
            parameters,
            [parameter.grad for parameter in parameters],  # pyright: ignore[reportArgumentType]
            [state["mean"] for state in states],
            [state["square"] for state in states],
            [],
            [state["step"] for state in states],
            foreach=False,
            fused=True,
            amsgrad=False,
            beta1=_BETAS[0],
            beta2=_BETAS[1],
            lr=lr,
            weight_decay=weight_decay,
            eps=_EPS,
            maximize=False,
        )


def orthogonal(matrix: torch.Tensor) -> torch.Tensor:
    """The orthogonal factor of a float32 matrix, about: its singular values become numbers between 0.7 and 1.2.

    Five rounds of Newton-Schulz X <- a X + b (X X') X + c (X X')^2 X. Every round multiplies by a polynomial of the
    first X X', so they are done on that small matrix, and X is multiplied once ("Gram Newton-Schulz").
    """
    wide = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.mT
    wide = wide / wide.norm().clamp(min=1e-7)
    a, b, c = _COEFFICIENTS
    gram = wide @ wide.mT
    identity = torch.eye(len(gram), device=gram.device, dtype=gram.dtype)
    product = identity
    for left in reversed(range(_ROUNDS)):
        factor = a * identity + b * gram + c * (gram @ gram)
        product = factor @ product
        if left:
            gram = factor @ gram @ factor
    result = product @ wide
    return result if matrix.shape[0] <= matrix.shape[1] else result.mT
