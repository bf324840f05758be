"""Distances between a set of generated images and a set of real ones, in the features of a network.

    frechet    || m - m' ||^2 + tr(C + C' - 2 (C C')^(1/2)) of the means and covariances (arXiv:1706.08500)
    kernel     squared maximum mean discrepancy with a cubic kernel; unbiased, so it can be negative (arXiv:1801.01401)
    precision  share of the generated images that are closer to some real image than its own third neighbour, among as
               many real images as there are generated ones (arXiv:1904.06991, eq. 1 and 2)
    recall     the same with the two sets exchanged

The first two are computed by torchmetrics. Values of different features cannot be compared with each other. Published
values use Inception's features; those of a small classifier cannot be compared with them.
"""

from __future__ import annotations

import warnings

import torch
from torch import nn
from torchmetrics.image.fid import FrechetInceptionDistance
from torchmetrics.image.kid import KernelInceptionDistance
from tqdm.auto import tqdm

from lab_ddpm.data.images import Images
from lab_ddpm.tools.errors import DataError, UserError, first_line
from lab_ddpm.tools.extras import require_extra

NEIGHBOUR = 3
_BATCH = 256
_KERNEL_SUBSET = 1000


class _Stored(nn.Identity):
    """The network that torchmetrics asks for. The features are already computed, so it only passes them on."""

    def __init__(self, num_features: int) -> None:
        super().__init__()
        self.num_features = num_features


def inception_features() -> nn.Module:
    """The 2,048 pooled features of Inception-v3, which most papers use: (B, 1 or 3, H, W) uint8 -> (B, 2048).

    Raises:
        UserError: torch-fidelity is not installed.
        DataError: The weights cannot be downloaded.
    """
    require_extra("torch_fidelity")
    try:
        network = FrechetInceptionDistance(feature=2048).inception
    except OSError as error:
        raise DataError(f"inception: its weights could not be downloaded ({first_line(error)})") from None
    network.register_forward_pre_hook(lambda _, inputs: inputs[0].expand(-1, 3, -1, -1))  # grey images get colours
    return network


@torch.inference_mode()
def extract(features: nn.Module, images: Images) -> torch.Tensor:
    """Features of images: (N, H, W, C) uint8 -> (N, F) float32 on the CPU, computed on the network's device."""
    device = next(features.parameters()).device
    batches = []
    for start in tqdm(range(0, len(images), _BATCH), desc="features", unit="batch", leave=False, delay=2):
        batch = torch.from_numpy(images[start : start + _BATCH].copy()).movedim(-1, 1)
        batches.append(features(batch.to(device)).float().cpu())
    return torch.cat(batches)


def compare(real: torch.Tensor, generated: torch.Tensor) -> dict[str, float]:
    """The four distances between two sets.

    Args:
        real: (N, F) features.
        generated: (M, F) features.

    Returns:
        "frechet", "kernel", "precision" and "recall".

    Raises:
        UserError: A set has fewer than four images, so there is no third neighbour.
    """
    fewer = min(len(real), len(generated))
    if fewer <= NEIGHBOUR:
        raise UserError(f"at least {NEIGHBOUR + 1} images are needed in both sets, got {fewer}")
    with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
        warnings.simplefilter("ignore", UserWarning)  # it warns that it keeps all features
        torch.manual_seed(0)
        subset = min(_KERNEL_SUBSET, fewer)
        kernel = KernelInceptionDistance(feature=_Stored(real.shape[1]), subset_size=subset)
        kernel.update(real, real=True)
        kernel.update(generated, real=False)
        frechet, kernel = frechet_distance(real, generated), float(kernel.compute()[0])
    order = torch.Generator().manual_seed(0)
    real, generated = (part[torch.randperm(len(part), generator=order)[:fewer]] for part in (real, generated))
    return {
        "frechet": frechet,
        "kernel": kernel,
        "precision": covered(real, generated),
        "recall": covered(generated, real),
    }


def frechet_distance(real: torch.Tensor, generated: torch.Tensor) -> float:
    """The Frechet distance between features (N, F) and (M, F)."""
    metric = FrechetInceptionDistance(feature=_Stored(real.shape[1]))
    metric.update(real, real=True)
    metric.update(generated, real=False)
    return float(metric.compute())


def covered(reference: torch.Tensor, points: torch.Tensor) -> float:
    """Share of `points` (M, F) that are closer to a point of `reference` (N, F) than its own third neighbour."""
    reach = torch.cat(
        [torch.cdist(part, reference).kthvalue(NEIGHBOUR + 1, dim=1).values for part in reference.split(_BATCH)]
    )
    inside = [(torch.cdist(part, reference) <= reach).any(dim=1) for part in points.split(_BATCH)]
    return float(torch.cat(inside).float().mean())


def nearest(images: Images, training: Images) -> tuple[torch.Tensor, torch.Tensor]:
    """Find the training image that is nearest to each image, by the root mean square difference of the pixels.

    Args:
        images: (M, H, W, C) uint8.
        training: (N, H, W, C) uint8.

    Returns:
        (M,) distances for pixel values in [0, 1], and (M,) positions in `training`.
    """
    wanted = torch.from_numpy(images.reshape(len(images), -1).copy()).float() / 255
    best = torch.full((len(images),), torch.inf)
    indices = torch.zeros(len(images), dtype=torch.long)
    for start in tqdm(range(0, len(training), _BATCH), desc="nearest images", leave=False, delay=2):
        block = torch.from_numpy(training[start : start + _BATCH].reshape(-1, wanted.shape[1]).copy()).float() / 255
        distances, positions = torch.cdist(wanted, block).min(dim=1)
        indices = torch.where(distances < best, positions + start, indices)
        best = torch.minimum(best, distances)
    return best / wanted.shape[1] ** 0.5, indices
