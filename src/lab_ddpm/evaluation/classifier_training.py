"""Train a classifier on labelled images, and measure it on images that it has not seen.

The loss is binary cross-entropy over a sigmoid per label. `recipes` has the settings, `fitting` the optimizer.
"""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from pathlib import Path
from typing import cast

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import nn

from lab_ddpm.data.iclevr import OBJECTS
from lab_ddpm.data.images import Images
from lab_ddpm.data.labelled_images import open_labelled_images
from lab_ddpm.evaluation.classifiers import IMAGE_SIZE, build_classifier, load_classifier, save_classifier
from lab_ddpm.evaluation.fitting import fit
from lab_ddpm.evaluation.intervals import as_text
from lab_ddpm.evaluation.perturbations import perturb
from lab_ddpm.evaluation.recipes import Recipe
from lab_ddpm.evaluation.scores import found_in
from lab_ddpm.tools.errors import DataError
from lab_ddpm.tools.files import write_json
from lab_ddpm.tools.hardware import computes_in_bf16, this_process

Labelled = tuple[Images, torch.Tensor]  # (N, H, W, C) uint8 and (N, num_labels) multi-hot

BATCH_SIZE = 64  # larger batches are no faster on a CPU, and give fewer steps
HELD_OUT_SHARE = 0.05


def train_and_save(
    recipe: Recipe,
    name: str,
    training: Labelled,
    held_out: Labelled,
    labels: Sequence[str],
    out: str | Path,
    epochs: int | None = None,
    seed: int = 0,
) -> Path:
    """Train a classifier; write its weights to `out/NAME.safetensors` and its scores to `out/NAME.json`.

    Prints how many labels it finds, and a note if guessing would find as many.

    Args:
        recipe: How to train.
        name: Name of the files.
        training: Images to train on.
        held_out: Other images, to measure on.
        labels: The names of the columns of the labels.
        out: Folder of the files.
        epochs: None for the recipe's number.
        seed: The seed of the weights, the order and the augmentation.

    Returns:
        The path of the weights.
    """
    epochs = recipe.epochs if epochs is None else epochs
    started = time.monotonic()
    classifier = train_classifier(recipe, training, epochs, seed)
    minutes = (time.monotonic() - started) / 60
    path = save_classifier(classifier, recipe.architecture, out, labels, name, training[0].shape[1:3])
    found = found_in(load_classifier(path, labels), *held_out)  # the scores of the file, not of the network in memory
    figures = {
        "classifier": name,
        "training_images": len(training[0]),
        "epochs": epochs,
        "seed": seed,
        "minutes": round(minutes, 1),
        "held_out_images": len(held_out[0]),
        "clean": found,
    }
    write_json(path.with_suffix(".json"), figures)
    print(f"{name} finds {as_text(found['micro'], '.4f')} of the labels in {len(held_out[0])} held-out images")
    counts = held_out[1].sum(dim=0)
    guessing = float(counts.max() / counts.sum())
    low, _ = cast(list[float], found["micro"]["ci95"])
    if low <= guessing:
        print(
            f"note: guessing the most frequent label finds {guessing:.4f}. Scores by this classifier, and best/ chosen "
            "with it, mean nothing"
        )
    return path


def train_classifier(recipe: Recipe, training: Labelled, epochs: int, seed: int) -> nn.Module:
    """Train a classifier. The same seed gives the same weights on the same machine.

    Returns:
        The classifier after the last epoch, on the CPU.
    """
    images, class_labels = training
    seed += recipe.seed_offset
    device = cast(torch.device, this_process().device)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        classifier = build_classifier(recipe.architecture, class_labels.shape[1], images.shape[-1]).to(device)
    classifier.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    generator = torch.Generator().manual_seed(seed)

    def draw_epoch() -> Sequence[torch.Tensor]:
        return _order(class_labels.sum(dim=1), generator).split(BATCH_SIZE)

    def loss_of(chosen: torch.Tensor) -> torch.Tensor:
        pixels = perturb(images[chosen.numpy()], recipe.changes, generator)
        with torch.autocast(device.type, torch.bfloat16, enabled=computes_in_bf16(device)):
            probabilities = classifier(pixels.to(device, memory_format=torch.channels_last))
        return F.binary_cross_entropy(probabilities, class_labels[chosen].to(device))

    steps = -(-len(images) // BATCH_SIZE)
    fit(classifier, recipe.architecture, epochs, steps, recipe.learning_rate, draw_epoch, loss_of)
    return classifier.cpu()


def _order(counts: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Each image once; but images with more labels are drawn more often, because a score counts labels."""
    if (counts == counts[0]).all():
        return torch.randperm(len(counts), generator=generator)
    return torch.multinomial(counts, len(counts), replacement=True, generator=generator)


def open_iclevr_parts(roots: Sequence[str | Path], held_out_root: str | Path | None) -> tuple[Labelled, Labelled]:
    """The images of i-CLEVR to train on, and those to measure on.

    Args:
        roots: Folders as `labelled_images.open_labelled_images` reads them.
        held_out_root: Another such folder to measure on. None keeps the last 5 % of the scenes of `roots`.

    Raises:
        DataError: A broken data set, or one that is too small to keep images for measuring.
    """
    sets = [open_labelled_images(root, IMAGE_SIZE, OBJECTS) for root in roots]
    images = np.concatenate([data.images for data in sets])
    class_labels = torch.cat([data.class_labels for data in sets])
    if held_out_root is not None:
        held_out = open_labelled_images(held_out_root, IMAGE_SIZE, OBJECTS)
        return (images, class_labels), (held_out.images, held_out.class_labels)
    training, measured = split_scenes([name for data in sets for name in data.names])
    return (images[training], class_labels[training]), (images[measured], class_labels[measured])


def split_scenes(names: Sequence[str]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Hold out the last 5 % of the scenes (at least one), each with all its steps.

    Args:
        names: Image names such as `CLEVR_train_000017_2.png`: scene 17, step 2.

    Returns:
        The positions in `names` to train on, and those to measure on.

    Raises:
        DataError: A name without a scene number, or fewer than two scenes.
    """
    scenes = np.array([_scene(name) for name in names])
    different = np.unique(scenes)
    if len(different) < 2:
        raise DataError(f"at least 2 scenes are needed to hold one out, got {len(different)}")
    first_held_out = different[-max(1, round(HELD_OUT_SHARE * len(different)))]
    return np.flatnonzero(scenes < first_held_out), np.flatnonzero(scenes >= first_held_out)


def _scene(name: str) -> int:
    match = re.search(r"(\d+)_\d+\.\w+$", name)
    if match is None:
        raise DataError(f"an image must be named ..._SCENE_STEP.png to hold out whole scenes, got {name!r}")
    return int(match[1])
