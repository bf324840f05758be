"""k-means (Lloyd, "Least squares quantization in PCM", 1982), from a start that is spread over the points."""

from __future__ import annotations

import torch

_LLOYD_ROUNDS = 25


def k_means(points: torch.Tensor, count: int) -> torch.Tensor:
    """(count, D) means of (N, D) points on the CPU.

    The start is that of k-means++ (Arthur and Vassilvitskii, 2007) with seed 0, but for the first mean: it is the first
    point.
    """
    generator = torch.Generator().manual_seed(0)
    means, distances = points[:1], torch.full((len(points),), torch.inf)
    while len(means) < count:
        distances = torch.minimum(distances, (points - means[-1]).square().sum(dim=1))
        means = torch.cat([means, points[torch.multinomial(distances + 1e-9, 1, generator=generator)]])
    for _ in range(_LLOYD_ROUNDS):
        which = torch.cdist(points, means).argmin(dim=1)
        sums = torch.zeros_like(means).index_add_(0, which, points)
        counts = which.bincount(minlength=count)[:, None]
        means = torch.where(counts > 0, sums / counts.clamp(min=1), means)
    return means
