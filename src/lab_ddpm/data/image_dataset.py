"""What every kind of data set is opened as: images and labels as arrays, in the same order."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from lab_ddpm.data.images import Images

if TYPE_CHECKING:
    import torch


class Kinds(NamedTuple):
    """How many image files have each size and each mode."""

    sizes: Mapping[str, int]
    modes: Mapping[str, int]


@dataclass(frozen=True)
class ImageDataset:
    """Images and labels in the order of the names.

    Attributes:
        names: N unique names.
        images: (N, H, W, C) uint8, memory-mapped; C = 1 or 3.
        class_labels: (N, len(labels)) float32 multi-hot.
        labels: The names of the labels; empty for images without labels.
        fit: How the images were brought to their size, as in `images.fit_image`.
        content: Hash of the image files and of the way they were read.
        masks: (N, 2 H, 2 W, 1) uint8, memory-mapped: at every pixel 1 + the index of the label that is there, or 0;
            None for images that were opened without masks. See `images.MASK_SCALE`.
        kinds: Sizes and modes of the image files.
    """

    names: list[str]
    images: Images
    class_labels: torch.Tensor
    labels: tuple[str, ...]
    fit: str
    content: str
    masks: Images | None = None
    kinds: Kinds = field(default_factory=lambda: Kinds({}, {}))

    def __len__(self) -> int:
        return len(self.names)

    def some(self, count: int, seed: int) -> tuple[Images, torch.Tensor]:
        """Up to `count` images, chosen at random (folders are sorted by class), and their labels."""
        chosen = np.random.default_rng(seed).permutation(len(self))[:count]
        return self.images[chosen], self.class_labels[chosen]

    def some_labels(self, count: int, seed: int) -> torch.Tensor:
        """The (count, num_labels) labels of images that are drawn at random with replacement."""
        return self.class_labels[np.random.default_rng(seed).integers(len(self), size=count)]

    def fingerprint(self) -> str:
        """Hash of everything that a training run sees of the data set."""
        digest = hashlib.sha256(repr((self.content, self.names, self.labels, self.images.shape)).encode())
        digest.update(self.class_labels.numpy().tobytes())
        return digest.hexdigest()[:16]
