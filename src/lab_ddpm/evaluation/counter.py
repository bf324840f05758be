"""The counter: how many objects of each kind an i-CLEVR image shows.

    heat, kinds = counter(image)     for each cell: is the middle of an object in it, and which kind is the object
    objects     = the peaks of heat above 1/2, each of its likeliest kind              (CenterNet, arXiv:1904.07850)

`counter_training` trains it. It only counts in finished images: no checkpoint is chosen by it.
"""

from __future__ import annotations

from pathlib import Path
from typing import TypedDict

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import nn

from lab_ddpm.data.iclevr import OBJECTS
from lab_ddpm.data.images import Images, to_tensor
from lab_ddpm.evaluation.classifiers import EVALUATOR_DIR, IMAGE_SIZE
from lab_ddpm.evaluation.intervals import Bootstrap, Score
from lab_ddpm.tools.shipped import find_shipped
from lab_ddpm.tools.weights import load_state, read_weights

COUNTER_FILE = EVALUATOR_DIR / "counter.safetensors"

GRID = IMAGE_SIZE // 2  # cells on a side
_WINDOW = 3  # cells on a side: around a middle, or in which there is at most one peak
_BATCH_SIZE = 128


class Counter(nn.Module):
    """(B, 3, 64, 64) in [-1, 1] -> (B, 25, 32, 32) logits: of a middle, then of the kinds."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            *_convolution(3, 24),
            nn.MaxPool2d(2),
            *_convolution(24, 48),
            *_convolution(48, 48),
            nn.MaxPool2d(2),
            *_convolution(48, 96),
            *_convolution(96, 128, dilation=2),
            *_convolution(128, 128, dilation=4),
            *_convolution(128, 128),
            nn.Conv2d(128, 4 * (1 + len(OBJECTS)), 1),
            nn.PixelShuffle(2),
        )

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """See the class."""
        return self.layers(images)


def _convolution(channels: int, out_channels: int, dilation: int = 1) -> list[nn.Module]:
    convolution = nn.Conv2d(channels, out_channels, 3, padding=dilation, dilation=dilation, bias=False)
    return [convolution, nn.BatchNorm2d(out_channels), nn.ReLU()]


def load_counter(path: Path = COUNTER_FILE) -> Counter:
    """A counter, by default that of the working folder or else the shipped one.

    Raises:
        DataError: It is missing or broken.
    """
    counter = Counter()
    load_state(path, counter, read_weights(find_shipped(path)))
    return counter.eval()


class Counts(TypedDict):
    """Shares of images by what they show, as in `metrics.json`."""

    right: Score  # what was asked for and nothing else
    too_many: Score  # more objects than were asked for


def count_scores(counts: NDArray[np.int64], class_labels: torch.Tensor) -> Counts:
    """The scores of (S * N, 24) counts of S seeds, one after the other, of (N, 24) multi-hot conditions."""
    asked = class_labels.numpy().astype(np.int64)
    found = counts.reshape(-1, *asked.shape)
    bootstrap, ones = Bootstrap(*found.shape[:2]), np.ones(len(asked))
    right, too_many = (found == asked).all(axis=-1), found.sum(axis=-1) > asked.sum(axis=-1)
    return Counts(right=bootstrap.ratio(right * 1.0, ones), too_many=bootstrap.ratio(too_many * 1.0, ones))


@torch.inference_mode()
def count_objects(counter: Counter, images: Images) -> NDArray[np.int64]:
    """How many objects of each kind (N, 64, 64, 3) uint8 images show: (N, 24)."""
    counts = []
    for first in range(0, len(images), _BATCH_SIZE):
        logits = counter(to_tensor(images[first : first + _BATCH_SIZE]))
        heat, kinds = logits[:, :1], logits[:, 1:].argmax(dim=1)
        is_peak = ((heat == largest_near(heat)) & (heat > 0))[:, 0]
        counts.append(count_kinds(is_peak * (kinds + 1)))
    return torch.cat(counts).numpy()


def count_kinds(kinds: torch.Tensor) -> torch.Tensor:
    """(N, 24) how often each kind + 1 stands in (N, 32, 32) cells."""
    return torch.stack([(kinds == kind + 1).sum(dim=(1, 2)) for kind in range(len(OBJECTS))], dim=1)


def largest_near(values: torch.Tensor) -> torch.Tensor:
    """The largest value in the window around each cell."""
    return F.max_pool2d(values, _WINDOW, stride=1, padding=_WINDOW // 2)
