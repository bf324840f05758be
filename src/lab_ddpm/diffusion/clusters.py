"""Clusters: what an image without labels roughly looks like, decided before it is drawn.

    the clusters     k-means of the training images, at 8 x 8 pixels
    p(cluster)       its share of those images

A model without labels has to find out what it draws while it draws: its first predictions are means over all images,
and some of its images stay mixtures. So it is conditioned on a cluster, as on a label that nobody has to give.
arXiv:2210.06462 does so with clusters of learnt features.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
import torch.nn.functional as F

from lab_ddpm.data.random_numbers import FOR_CLUSTER, hashed
from lab_ddpm.diffusion.float32 import Float32Module
from lab_ddpm.diffusion.k_means import k_means

_SMALL_SIDE = 8


class Clusters(Float32Module):
    """The clusters of a model's images. Until `fit`, all are the same.

    Args:
        count: K, the number of clusters.
        in_channels: C, the channels of the images.
    """

    means: torch.Tensor
    shares: torch.Tensor

    def __init__(self, count: int, in_channels: int) -> None:
        super().__init__()
        self.register_buffer("means", torch.zeros(count, in_channels * _SMALL_SIDE**2))
        self.register_buffer("shares", torch.full((count,), 1 / count))

    @torch.no_grad()
    def fit(self, batches: Iterable[torch.Tensor]) -> None:
        """Learn from batches of (B, C, H, W) images in [-1, 1]. The result is not random."""
        points = torch.cat([_small(images) for images in batches])
        self.means.copy_(k_means(points, len(self.means)))
        self.shares.copy_(self._of(points).mean(dim=0))

    def nearest(self, images: torch.Tensor) -> torch.Tensor:
        """(B, K) one-hot float32: the clusters of (B, C, H, W) images in [-1, 1]."""
        return self._of(_small(images))

    def draw(self, seeds: Sequence[int]) -> torch.Tensor:
        """(B, K) one-hot float32: a cluster for each seed, as often as the training images have it."""
        hashes = torch.tensor(
            [hashed(seed, FOR_CLUSTER) for seed in seeds], dtype=torch.float64, device=self.shares.device
        )
        uniforms = hashes / 2**32
        ends = self.shares.double().cumsum(dim=0)
        which = torch.searchsorted(ends, uniforms * ends[-1], right=True).clamp(max=len(ends) - 1)
        return F.one_hot(which, len(self.means)).float()

    def none(self, count: int) -> torch.Tensor:
        """(B, K) zeros: `count` images of no known cluster."""
        return self.shares.new_zeros(count, len(self.shares))

    def _of(self, points: torch.Tensor) -> torch.Tensor:
        # not by a product of matrices: an image's cluster would depend on the batch where two are equally far
        distances = torch.cdist(points, self.means, compute_mode="donot_use_mm_for_euclid_dist")
        return F.one_hot(distances.argmin(dim=1), len(self.means)).float()


def _small(images: torch.Tensor) -> torch.Tensor:
    """(B, C SIDE^2): the images with fewer pixels."""
    return F.adaptive_avg_pool2d(images, _SMALL_SIDE).flatten(1)
