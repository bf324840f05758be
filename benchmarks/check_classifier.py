"""Measure the classifiers of i-CLEVR on images with known labels, as they are and perturbed.

python benchmarks/check_classifier.py --root data/fresh
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
import torch
from torch import nn
from tqdm.auto import tqdm

from common import markdown_table
from lab_ddpm.cli import run
from lab_ddpm.data.iclevr import OBJECTS, ROOT
from lab_ddpm.data.images import Images, to_uint8
from lab_ddpm.data.labelled_images import open_labelled_images
from lab_ddpm.evaluation.classifiers import CLASSIFIERS, IMAGE_SIZE, classifier_file, load_classifier
from lab_ddpm.evaluation.intervals import as_text
from lab_ddpm.evaluation.perturbations import perturb
from lab_ddpm.evaluation.scores import found_in
from lab_ddpm.tools.hardware import this_process

_BATCH = 64  # of images that are perturbed together

# Measured one at a time, on every image, at the same strengths for every classifier.
STRENGTHS = {
    "flip": 1.0,
    "zoom": 0.1,
    "shift": 3.0,
    "lamp": 0.2,
    "brightness": 0.2,
    "contrast": 0.2,
    "saturation": 0.25,
    "tint": 0.05,
    "blur": 1.2,
    "resize": 0.6,
    "blotches": 0.05,
    "noise": 0.08,
}


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, default=ROOT, help=f"images that no classifier saw (default: {ROOT})")
    options = parser.parse_args(arguments)
    held_out = open_labelled_images(options.root, IMAGE_SIZE, OBJECTS)
    images, class_labels = held_out.images, held_out.class_labels
    files = [classifier_file(name) for name in CLASSIFIERS]
    columns = [
        measure(load_classifier(file, OBJECTS).to(this_process().device), images, class_labels) for file in files
    ]
    print(f"{len(images)} images, {int(class_labels.sum())} objects; objects found, with 95 % intervals")
    rows = [[title, *(column[title] for column in columns)] for title in columns[0]]
    print(markdown_table(["images", *map(str, files)], rows), end="")


def measure(classifier: nn.Module, images: Images, class_labels: torch.Tensor) -> dict[str, str]:
    """What a classifier finds in images as they are, and under every perturbation of `STRENGTHS`.

    Args:
        classifier: On any device.
        images: (M, 64, 64, 3) uint8.
        class_labels: (M, 24) multi-hot.

    Returns:
        Title -> objects found / objects asked.
    """
    found = {"as they are": found_in(classifier, images, class_labels)}
    for name, strength in tqdm(STRENGTHS.items(), desc="perturbations", leave=False):
        changed = perturbed(images, name, strength)
        found[f"{name} up to {strength}"] = found_in(classifier, changed, class_labels)
    return {title: as_text(of["micro"], ".4f") for title, of in found.items()}


def perturbed(images: Images, name: str, strength: float) -> Images:
    """(N, H, W, C) uint8 images under one perturbation, always with the same random numbers."""
    generator = torch.Generator().manual_seed(0)
    batches = (images[start : start + _BATCH] for start in range(0, len(images), _BATCH))
    return np.concatenate([to_uint8(perturb(batch, {name: (1.0, strength)}, generator)) for batch in batches])


if __name__ == "__main__":
    sys.exit(run(main))
