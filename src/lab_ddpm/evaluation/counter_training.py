"""Training the counter on rendered scenes of one to six objects, often several of a kind; see `replica.counting`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from lab_ddpm.data.iclevr import MOST_OBJECTS, OBJECTS
from lab_ddpm.data.images import Images, read_image
from lab_ddpm.evaluation.classifiers import IMAGE_SIZE
from lab_ddpm.evaluation.counter import (
    COUNTER_FILE,
    GRID,
    Counter,
    count_kinds,
    count_objects,
    largest_near,
    load_counter,
)
from lab_ddpm.evaluation.fitting import fit
from lab_ddpm.evaluation.intervals import share_interval
from lab_ddpm.evaluation.perturbations import perturb
from lab_ddpm.evaluation.recipes import RECIPES
from lab_ddpm.tools.errors import DataError
from lab_ddpm.tools.files import read_json, write_json
from lab_ddpm.tools.weights import save_halved

_WEIGHT = 20.0  # of a cell with a middle: there are hundreds without one
_EPOCHS, _BATCH_SIZE, _LEARNING_RATE = 20, 32, 2e-3
# as for the referee, but nothing that moves the objects
_CHANGES = {name: c for name, c in RECIPES["referee"].changes.items() if name not in ("flip", "zoom", "shift")}


def open_counting_images(root: Path) -> tuple[Images, torch.Tensor]:
    """The images that `render_for_counting` wrote, and (N, 32, 32) uint8: the kind + 1 of a middle, else 0.

    Raises:
        DataError: A file is missing or broken.
    """
    places: Any = read_json(root / "places.json")
    kinds_named = {name for objects in places.values() for name, *_ in objects} if isinstance(places, dict) else set()
    if not kinds_named or not kinds_named <= {*OBJECTS}:
        raise DataError(f"{root / 'places.json'}: is not what `render --for-counter` writes")
    images = np.stack([read_image(root / "images" / name, IMAGE_SIZE) for name in places])
    kinds = torch.zeros(len(images), GRID, GRID, dtype=torch.uint8)
    for index, objects in enumerate(places.values()):
        for name, *middle in objects:
            column, row = (min(max(int(share * GRID), 0), GRID - 1) for share in middle)
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
    true = count_kinds(there).numpy()
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
        logits, near = counter(pixels.to(memory_format=torch.channels_last)), largest_near(wanted)
        heat, is_middle = logits[:, :1], (wanted > 0).float()
        errors = F.binary_cross_entropy_with_logits(heat, is_middle, reduction="none")
        loss = ((_WEIGHT * is_middle + (near == 0)) * errors).sum() / is_middle.sum()
        return loss + F.cross_entropy(logits[:, 1:], near[:, 0].long() - 1, ignore_index=-1)

    fit(counter, "counter", epochs, -(-len(images) // _BATCH_SIZE), _LEARNING_RATE, draw_epoch, loss_of)
    return counter.eval()
