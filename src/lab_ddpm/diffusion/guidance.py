"""Classifier-free guidance, and conditions combined with AND and NOT.

    prediction = null + s sum_k w_k (prediction(c_k) - null)

One condition with w = 1 is arXiv:2207.12598, eq. 6 (their w is s - 1). Several with w = 1 (AND) or w = -1 (NOT) are the
conjunction and the negation of arXiv:2206.01714, section 4. `null` is the prediction for the null label.

A composed condition is a (K, num_labels) tensor with a row for each c_k. The rows of a NOT are negative.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

Predict = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]  # noisy, class_labels -> prediction


def guided(predict: Predict, noisy: torch.Tensor, class_labels: torch.Tensor, scale: float) -> torch.Tensor:
    """The prediction for simple or composed conditions.

    Args:
        predict: The network at one timestep.
        noisy: (B, C, H, W) samples.
        class_labels: (B, num_labels), or (B, K, num_labels) of composed conditions, where rows of zeros have no effect.
        scale: s above. With 1, simple conditions need one call of the network.

    Returns:
        What `predict` returns for simple conditions: (B, C, H, W).
    """
    if class_labels.ndim == 2 and scale == 1.0:
        return predict(noisy, class_labels)
    rows = class_labels if class_labels.ndim == 3 else class_labels[:, None]
    count = rows.shape[1] + 1
    asked = torch.cat([torch.zeros_like(rows[:, :1]), rows.abs()], dim=1)
    predictions = predict(noisy.repeat(count, 1, 1, 1), asked.transpose(0, 1).flatten(0, 1)).unflatten(0, (count, -1))
    signs = rows.sum(dim=2).sign().T[..., None, None, None]
    return predictions[0] + scale * (signs * (predictions[1:] - predictions[0])).sum(dim=0)
