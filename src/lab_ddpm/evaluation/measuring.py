"""What a classifier finds in images that it never saw, as they are and perturbed."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import nn
from tqdm.auto import tqdm

from lab_ddpm.data.images import Images, to_uint8
from lab_ddpm.evaluation.augmentation import augment
from lab_ddpm.evaluation.classifiers import predict
from lab_ddpm.evaluation.intervals import share_interval
from lab_ddpm.evaluation.object_scores import top_k_hits
from lab_ddpm.evaluation.recipes import ROBUSTNESS_STRENGTHS

_BATCH = 64


def found_in(classifier: nn.Module, images: Images, class_labels: torch.Tensor) -> dict[str, Any]:
    """Objects found / objects asked ("micro"), and images without a mistake ("exact_match"), with 95 % intervals.

    Wilson's, as if every object were a trial of its own.

    Args:
        classifier: On any device.
        images: (M, H, W, C) uint8.
        class_labels: (M, num_labels) multi-hot.
    """
    asked = class_labels.numpy() > 0
    found = top_k_hits(predict(classifier, images), asked)
    return {
        "micro": share_interval(int(found.sum()), int(asked.sum())),
        "exact_match": share_interval(int((found == asked).all(axis=1).sum()), len(asked)),
    }


def measure_perturbed(classifier: nn.Module, images: Images, class_labels: torch.Tensor) -> dict[str, dict[str, Any]]:
    """What a classifier finds under every perturbation of `ROBUSTNESS_STRENGTHS`, one at a time.

    Args:
        classifier: A trained classifier.
        images: (M, 64, 64, 3) uint8 that it never saw.
        class_labels: (M, 24) multi-hot.
    """
    return {
        name: {"strength": strength, **found_in(classifier, perturbed(images, {name: (1.0, strength)}), class_labels)}
        for name, strength in tqdm(ROBUSTNESS_STRENGTHS.items(), desc="perturbations", leave=False)
    }


def perturbed(images: Images, changes: dict[str, tuple[float, float]]) -> Images:
    """The images (M, H, W, C) uint8 after `augment`, always with the same draws, as uint8 again."""
    generator = torch.Generator().manual_seed(0)
    batches = [
        to_uint8(augment(images[start : start + _BATCH], changes, generator)) for start in range(0, len(images), _BATCH)
    ]
    return np.concatenate(batches)
