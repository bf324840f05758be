"""The optimizers: AdamW, or Muon for the matrices inside the networks and AdamW for the rest.

Muon (arXiv:2502.16982) makes the momentum of a matrix orthogonal and uses the result as the step:

    M   = 0.95 M + 0.05 G,   U = 0.95 M + 0.05 G                      Nesterov's momentum of the gradient G
    W  <- W - lr (0.2 sqrt(max(rows, columns)) orthogonal(U) + weight_decay W)

With this factor a step is as large as one of AdamW, so one learning rate serves both. A convolution's kernel is treated
as a matrix (out, in * height * width).

The libraries at hand (PyTorch, timm, pytorch-optimizer) make matrices orthogonal in bfloat16. A CPU that emulates
bfloat16 takes 16 times as long for that as for the float32 here. PyTorch's Muon also refuses kernels.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from lab_ddpm.diffusion.denoiser import Denoiser
from lab_ddpm.training.config import OptimizerConfig

_LEVELS = ("unet.down_blocks.", "unet.mid_block.", "unet.up_blocks.", "detailer.level.")
_MOMENTUM = 0.95
_ROUNDS, _COEFFICIENTS = 5, (3.4445, -4.7750, 2.0315)  # of Newton-Schulz, arXiv:2502.16982, section 2.1


def make_optimizer(denoiser: Denoiser, config: OptimizerConfig) -> torch.optim.Optimizer:
    """The optimizer that `config.name` names: "adamw" (arXiv:1711.05101) or "muon".

    With Muon, AdamW still trains the first and the last convolutions, the embeddings, the biases and the norms.
    """
    lr, weight_decay = config.learning_rate, config.weight_decay
    if config.name == "adamw":
        return torch.optim.AdamW(denoiser.parameters(), lr, weight_decay=weight_decay, fused=True)
    matrices, rest = [], []
    for name, parameter in denoiser.named_parameters():
        (matrices if parameter.ndim > 1 and name.startswith(_LEVELS) else rest).append(parameter)
    return Muon(matrices, rest, lr, weight_decay)


class Muon(torch.optim.Optimizer):
    """Muon for matrices and kernels, AdamW for the rest.

    Args:
        matrices: Parameters with two dimensions or more.
        rest: All others; at least one.
        lr: Learning rate of both.
        weight_decay: Weight decay of both. It is not part of the gradient.
    """

    def __init__(
        self, matrices: Sequence[torch.Tensor], rest: Sequence[torch.Tensor], lr: float, weight_decay: float
    ) -> None:
        # fused: also what makes `load_state_dict` move each "step" to the device of its parameter
        self._adamw = torch.optim.AdamW(rest, lr=lr, weight_decay=weight_decay, fused=True)
        super().__init__([{"params": matrices}, *self._adamw.param_groups], {"lr": lr, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Update the parameters that have a gradient. A `closure` is ignored."""
        matrices, rest = self.param_groups
        self._step_matrices(matrices["params"], matrices["lr"], matrices["weight_decay"])
        # one state and one learning rate for both; `load_state_dict` replaces these objects
        self._adamw.state, self._adamw.param_groups = self.state, [rest]
        self._adamw.step()

    def _step_matrices(self, parameters: Sequence[torch.Tensor], lr: float, weight_decay: float) -> None:
        """One step of all matrices. Those of the same shape are computed together: a GPU would wait for single ones."""
        gradients = {parameter: parameter.grad for parameter in parameters if parameter.grad is not None}
        for parameter in gradients:
            if not self.state[parameter]:
                self.state[parameter]["momentum"] = torch.zeros_like(parameter)
        for shape in dict.fromkeys(parameter.shape for parameter in gradients):
            alike = [parameter for parameter in gradients if parameter.shape == shape]
            new, momenta = [gradients[each] for each in alike], [self.state[each]["momentum"] for each in alike]
            torch._foreach_lerp_(momenta, new, 1 - _MOMENTUM)
            updates = orthogonal(torch.stack(torch._foreach_lerp(new, momenta, _MOMENTUM)).flatten(2))
            torch._foreach_mul_(alike, 1 - lr * weight_decay)
            updates = updates.mul_(-lr * 0.2 * max(updates.shape[1:]) ** 0.5).unflatten(2, shape[1:])
            torch._foreach_add_(alike, list(updates))


def orthogonal(matrix: torch.Tensor) -> torch.Tensor:
    """Approximate orthogonal factors of (..., rows, columns) float32 matrices, of the same shape.

    Their singular values are numbers between 0.7 and 1.2.

    This runs five rounds of Newton-Schulz X <- a X + b (X X') X + c (X X')^2 X. Each round multiplies X by a polynomial
    of the first X X'. So the rounds run on that small matrix, and X is multiplied only once ("Gram Newton-Schulz").
    """
    is_wide = matrix.shape[-2] <= matrix.shape[-1]
    wide = matrix if is_wide else matrix.mT
    wide = wide / wide.norm(dim=(-2, -1), keepdim=True).clamp(min=1e-7)
    a, b, c = _COEFFICIENTS
    gram = wide @ wide.mT
    identity = torch.eye(gram.shape[-1], device=gram.device, dtype=gram.dtype)
    product = identity
    for left in reversed(range(_ROUNDS)):
        factor = a * identity + b * gram + c * (gram @ gram)
        product = factor @ product
        if left:
            gram = factor @ gram @ factor
    result = product @ wide
    return result if is_wide else result.mT
