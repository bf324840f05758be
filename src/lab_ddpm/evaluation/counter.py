"""The counter: how many objects of each kind an i-CLEVR image shows.

    heat, kinds = counter(image)     for each cell: is the middle of an object in it, and which kind is the object
    objects     = the peaks of heat above 1/2, each of its likeliest kind              (CenterNet, arXiv:1904.07850)

It is trained on rendered scenes of one to six objects, often several of a kind (`iclevr.replica.counting`). It only
counts in finished images: no checkpoint is chosen by it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypedDict

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import nn

from lab_ddpm.data.iclevr import MOST_OBJECTS, OBJECTS
from lab_ddpm.data.images import Images, read_image, to_tensor
from lab_ddpm.evaluation.classifiers import EVALUATOR_DIR, IMAGE_SIZE
from lab_ddpm.evaluation.fitting import fit
from lab_ddpm.evaluation.intervals import Bootstrap, Score, share_interval
from lab_ddpm.evaluation.perturbations import perturb
from lab_ddpm.evaluation.recipes import RECIPES
from lab_ddpm.tools.files import read_json, write_json
from lab_ddpm.tools.shipped import find_shipped
from lab_ddpm.tools.weights import load_state, read_weights, save_halved

COUNTER_FILE = EVALUATOR_DIR / "counter.safetensors"

_GRID = IMAGE_SIZE // 2  # cells on a side
_WINDOW = 3  # cells on a side: around a middle, or in which there is at most one peak
_WEIGHT = 20.0  # of a cell with a middle: there are hundreds without one
_EPOCHS, _BATCH_SIZE, _LEARNING_RATE = 20, 32, 2e-3
# as for the referee, but nothing that moves the objects
_CHANGES = {name: c for name, c in RECIPES["referee"].changes.items() if name not in ("flip", "zoom", "shift")}


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
def count_objects(counter: Counter, images: Images, batch_size: int = 128) -> NDArray[np.int64]:
    """How many objects of each kind (N, 64, 64, 3) uint8 images show: (N, 24)."""
    counts = []
    for first in range(0, len(images), batch_size):
        logits = counter(to_tensor(images[first : first + batch_size]))
        heat, kinds = logits[:, :1], logits[:, 1:].argmax(dim=1)
        is_peak = ((heat == _largest_near(heat)) & (heat > 0))[:, 0]
        counts.append(_count_kinds(is_peak * (kinds + 1)))
    return torch.cat(counts).numpy()


def _count_kinds(kinds: torch.Tensor) -> torch.Tensor:
    """(N, 24) how often each kind + 1 stands in (N, 32, 32) cells."""
    return torch.stack([(kinds == kind + 1).sum(dim=(1, 2)) for kind in range(len(OBJECTS))], dim=1)


def open_counting_images(root: Path) -> tuple[Images, torch.Tensor]:
    """The images that `render_for_counting` wrote, and (N, 32, 32) uint8: the kind + 1 of a middle, else 0."""
    places: Any = read_json(root / "places.json")
    images = np.stack([read_image(root / "images" / name, IMAGE_SIZE) for name in places])
    kinds = torch.zeros(len(images), _GRID, _GRID, dtype=torch.uint8)
    for index, objects in enumerate(places.values()):
        for name, *middle in objects:
            column, row = (min(max(int(share * _GRID), 0), _GRID - 1) for share in middle)
            kinds[index, row, column] = OBJECTS.index(name) + 1
    return images, kinds


def train_and_save_counter(root: Path, held_out: Path, out: Path, epochs: int | None = None, seed: int = 0) -> Path:
    """Train a counter; write `out/counter.safetensors`, and to `out/counter.json` how often it counts right.

    Args:
        root: Folder of the images to train on, from `render_for_counting`.
        held_out: Folder of other such images, to measure on.
        out: Folder of the files.
        epochs: None for the usual number.
        seed: The seed of the weights, the order and the augmentation.

    Raises:
        DataError: A folder is incomplete.
    """
    (images, kinds), (measured, there) = (open_counting_images(folder) for folder in (root, held_out))
    epochs = _EPOCHS if epochs is None else epochs
    path = out / COUNTER_FILE.name
    save_halved(train_counter(images, kinds, epochs, seed), path)
    true = _count_kinds(there).numpy()
    right = (count_objects(load_counter(path), measured) == true).all(axis=1)
    repeated, few = true.max(axis=1) > 1, true.sum(axis=1) <= MOST_OBJECTS
    groups = {"all": right, "with repetitions": right[repeated], "as in i-CLEVR": right[few & ~repeated]}
    shares = {name: share_interval(int(part.sum()), len(part)) for name, part in groups.items() if len(part)}
    figures = {"images": len(images), "epochs": epochs, "seed": seed, "held_out_images": len(measured)}
    write_json(path.with_suffix(".json"), {**figures, "right": shares})
    return path


def train_counter(images: Images, kinds: torch.Tensor, epochs: int, seed: int = 0) -> Counter:
    """Train a counter with cross-entropy. Cells next to a middle need no heat, but know the kind."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        counter = Counter().to(memory_format=torch.channels_last)
    generator = torch.Generator().manual_seed(seed)

    def draw_epoch() -> Sequence[torch.Tensor]:
        return torch.randperm(len(images), generator=generator).split(_BATCH_SIZE)

    def loss_of(chosen: torch.Tensor) -> torch.Tensor:
        pixels, wanted = perturb(images[chosen.numpy()], _CHANGES, generator), kinds[chosen].float()[:, None]
        flipped = torch.rand(len(chosen), 1, 1, 1, generator=generator) < 0.5
        pixels, wanted = (torch.where(flipped, part.flip(-1), part) for part in (pixels, wanted))
        logits, near = counter(pixels.to(memory_format=torch.channels_last)), _largest_near(wanted)
        heat, is_middle = logits[:, :1], (wanted > 0).float()
        errors = F.binary_cross_entropy_with_logits(heat, is_middle, reduction="none")
        loss = ((_WEIGHT * is_middle + (near == 0)) * errors).sum() / is_middle.sum()
        return loss + F.cross_entropy(logits[:, 1:], near[:, 0].long() - 1, ignore_index=-1)

    fit(counter, "counter", epochs, -(-len(images) // _BATCH_SIZE), _LEARNING_RATE, draw_epoch, loss_of)
    return counter.eval()


def _largest_near(values: torch.Tensor) -> torch.Tensor:
    """The largest value in the window around each cell."""
    return F.max_pool2d(values, _WINDOW, stride=1, padding=_WINDOW // 2)
