"""Training the classifiers on a data set, and measuring them on images that they never saw.

Binary cross-entropy over a sigmoid per label, AdamW ("Decoupled Weight Decay Regularization", 2019,
arXiv:1711.05101) and one cycle of the learning rate ("Super-Convergence", 2017, arXiv:1708.07120), by the
recipe in `recipes`. An image is drawn in proportion to the number of its objects.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import nn
from tqdm import tqdm

from lab_ddpm.data.iclevr import OBJECTS
from lab_ddpm.data.image_cache import ImageDataset
from lab_ddpm.data.images import Images
from lab_ddpm.data.labelled_images import open_labelled_images
from lab_ddpm.evaluation.augmentation import augment
from lab_ddpm.evaluation.classifiers import (
    CLASSIFIERS,
    IMAGE_SIZE,
    build_classifier,
    load_classifier,
    save_classifier,
)
from lab_ddpm.evaluation.intervals import as_text
from lab_ddpm.evaluation.measuring import found_in, perturbed
from lab_ddpm.evaluation.recipes import RECIPES, Recipe
from lab_ddpm.tools.errors import DataError, check_choice, check_positive
from lab_ddpm.tools.files import write_json
from lab_ddpm.tools.hardware import computes_in_bf16, this_process

Labelled = tuple[Images, torch.Tensor]

BATCH_SIZE = 64  # a CPU gains nothing from larger ones, and more steps learn more from as many images
HELD_OUT_SHARE = 0.05


def train_iclevr_classifiers(
    roots: Sequence[str | Path],
    held_out_root: str | Path | None,
    out: str | Path,
    names: Sequence[str] = CLASSIFIERS,
    epochs: int | None = None,
    seed: int = 0,
) -> list[Path]:
    """Train classifiers on `roots` and write `out/NAME.safetensors` and its figures, `out/NAME.json`.

    Args:
        roots: Folders that `labelled_images.open_labelled_images` reads.
        held_out_root: Another one, to measure on; None keeps the last 5 % of the scene numbers of `roots` back.
        out: Where the files go.
        names: Which of `CLASSIFIERS`.
        epochs: As many draws as there are images, so many times, instead of the recipe's.
        seed: Of the weights, the order and the augmentation.

    Returns:
        The weight files.

    Raises:
        UserError: An unknown name or a number that is not positive.
        DataError: A broken data set, or one too small to keep images back.
    """
    for name in names:
        check_choice("classifier", name, CLASSIFIERS)
    if epochs is not None:
        check_positive("epochs", epochs)
    sets = [open_labelled_images(root, IMAGE_SIZE, OBJECTS) for root in roots]
    images = np.concatenate([data.images for data in sets])
    class_labels = torch.cat([data.class_labels for data in sets])
    if held_out_root is not None:
        training, held_out = (images, class_labels), open_labelled_images(held_out_root, IMAGE_SIZE, OBJECTS)
        measuring = held_out.images, held_out.class_labels
    else:
        kept, measured = split_scenes([name for data in sets for name in data.names])
        training, measuring = ((images[chosen], class_labels[chosen]) for chosen in (kept, measured))
    paths = []
    for name in names:
        path, figures = _train_and_save(name, name, training, measuring, OBJECTS, out, epochs, seed)
        write_json(path.with_suffix(".json"), figures)
        paths.append(path)
    return paths


def train_image_classifier(
    training: ImageDataset,
    held_out: ImageDataset,
    name: str,
    out: str | Path,
    epochs: int | None = None,
    seed: int = 0,
) -> Path:
    """Train a classifier of images with one label each, and write `out/NAME.safetensors` and `out/NAME.json`.

    It prints a line if the classifier finds no more of the held-out labels than guessing would.

    Args:
        training: Of any size; its labels are what the classifier learns.
        held_out: The same labels, other images.
        name: Of the files.
        out: Where they go.
        epochs: As many draws as there are images, so many times, instead of the recipe's.
        seed: Of the weights, the order and the augmentation.

    Returns:
        The weight file.

    Raises:
        UserError: `epochs` is not positive.
        DataError: Images without labels, or labels that differ between the two.
    """
    if epochs is not None:
        check_positive("epochs", epochs)
    if not training.labels or training.labels != held_out.labels:
        raise DataError(
            f"both parts must have the same labels, got {list(training.labels)} and {list(held_out.labels)}"
        )
    learnt, measured = ((data.images, data.class_labels) for data in (training, held_out))
    path, figures = _train_and_save("images", name, learnt, measured, training.labels, out, epochs, seed)
    write_json(path.with_suffix(".json"), figures)
    counts = held_out.class_labels.sum(dim=0)
    found, chance = figures["clean"]["micro"], float(counts.max() / counts.sum())
    if found["ci95"][0] <= chance:
        print(
            f"note: the classifier finds {as_text(found, '.4f')} of the held-out labels, and the most frequent one "
            f"alone is {chance:.4f} of them: best/ and scores by this classifier will mean nothing"
        )
    return path


def _train_and_save(
    recipe_name: str,
    name: str,
    training: Labelled,
    measuring: Labelled,
    labels: Sequence[str],
    out: str | Path,
    epochs: int | None,
    seed: int,
) -> tuple[Path, dict[str, Any]]:
    recipe = RECIPES[recipe_name]
    passes = epochs or recipe.epochs
    started = time.monotonic()
    classifier = train_classifier(recipe, *training, *measuring, epochs=passes, seed=seed)
    minutes = (time.monotonic() - started) / 60
    path = save_classifier(classifier, recipe.architecture, out, labels, name)
    figures = {
        "classifier": name,
        "training_images": len(training[0]),
        "epochs": passes,
        "seed": seed,
        "minutes": round(minutes, 1),
        "held_out_images": len(measuring[0]),
        "clean": found_in(load_classifier(path, labels=labels), *measuring),  # what was written, not what was trained
    }
    return path, figures


def train_classifier(
    recipe: Recipe,
    images: Images,
    class_labels: torch.Tensor,
    held_out_images: Images,
    held_out_labels: torch.Tensor,
    epochs: int,
    seed: int,
    batch_size: int = BATCH_SIZE,
) -> nn.Module:
    """Train a classifier by `recipe` and print, per epoch, what it finds in the held-out images.

    Args:
        recipe: One of `recipes.RECIPES`.
        images: (N, H, W, C) uint8.
        class_labels: (N, num_labels) multi-hot.
        held_out_images: (M, H, W, C) uint8, used for nothing but the printed figures.
        held_out_labels: (M, num_labels) multi-hot.
        epochs: As many draws as there are images, so many times.
        seed: The same seed gives the same weights on the same machine.
        batch_size: Images per step.

    Returns:
        The classifier after the last epoch, on the CPU.
    """
    seed += recipe.seed_offset
    device = cast(torch.device, this_process().device)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        classifier = build_classifier(recipe.architecture, class_labels.shape[1], images.shape[-1]).to(device)
    classifier.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    generator = torch.Generator().manual_seed(seed)
    steps = -(-len(images) // batch_size)
    optimizer = torch.optim.AdamW(classifier.parameters(), weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=recipe.learning_rate, total_steps=epochs * steps)
    held_out_augmented = perturbed(held_out_images, recipe.changes)
    for epoch in range(1, epochs + 1):
        classifier.train()
        batches = _batches(class_labels, batch_size, generator)
        progress = tqdm(batches, f"{recipe.architecture} {epoch}/{epochs}", steps, unit="batch")
        for chosen in progress:
            augmented = augment(images[chosen], recipe.changes, generator)
            with torch.autocast(device.type, torch.bfloat16, enabled=computes_in_bf16(device)):
                probabilities = classifier(augmented.to(device, memory_format=torch.channels_last))
            loss = F.binary_cross_entropy(probabilities, class_labels[chosen].to(device))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            progress.set_postfix(loss=f"{loss.item():.4f}", refresh=False)
        clean, augmented = (
            as_text(found_in(classifier, held_out, held_out_labels)["micro"], ".4f")
            for held_out in (held_out_images, held_out_augmented)
        )
        tqdm.write(f"{recipe.architecture} epoch {epoch}: held out {clean}, augmented {augmented}")
    return classifier.cpu()


def split_scenes(names: Sequence[str]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Keep the last 5 % of the scenes (at least one) back, each with all its steps.

    Args:
        names: Image names such as `CLEVR_train_000017_2.png`: scene 17, step 2.

    Returns:
        The positions in `names` to train on, and those to measure on.

    Raises:
        DataError: A name without a scene number, or fewer than two scenes.
    """
    matches = [re.search(r"(\d+)_\d+\.\w+$", name) for name in names]
    if unknown := [name for name, match in zip(names, matches, strict=True) if match is None]:
        raise DataError(f"an image must be named ..._SCENE_STEP.png to keep scenes back, got {unknown[0]!r}")
    scenes = np.array([int(match[1]) for match in matches if match])
    different = np.unique(scenes)
    if len(different) < 2:
        raise DataError(f"at least 2 scenes are needed to keep one back, got {len(different)}")
    first_held_out = different[-max(1, round(HELD_OUT_SHARE * len(different)))]
    return np.flatnonzero(scenes < first_held_out), np.flatnonzero(scenes >= first_held_out)


def _batches(class_labels: torch.Tensor, batch_size: int, generator: torch.Generator) -> Iterator[NDArray[np.intp]]:
    """As many images as there are, each drawn in proportion to its objects: what a score counts is objects."""
    drawn = torch.multinomial(class_labels.sum(dim=1), len(class_labels), replacement=True, generator=generator)
    for chosen in drawn.split(batch_size):
        yield chosen.numpy()
