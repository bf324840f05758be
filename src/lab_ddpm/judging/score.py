"""The scores of pictures that are there: what a classifier finds of what was asked for."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from lab_ddpm.data.conditions import Condition, encode, parse_conditions
from lab_ddpm.data.iclevr import OBJECTS
from lab_ddpm.data.images import Pictures, fit_picture, resize_pictures, to_pil
from lab_ddpm.judging.classifiers import PICTURE_SIZE, classifier_file, load_classifier, predict
from lab_ddpm.judging.scores import Scores, summarise, top_k_hits
from lab_ddpm.tools.errors import UserError


def score(
    images: Sequence[Image.Image] | Pictures, conditions: Sequence[str | Condition], classifier: str = "referee"
) -> Scores:
    """Score pictures of i-CLEVR, of any size.

    Args:
        images: Pillow pictures, or (N, H, W, 3) uint8.
        conditions: What each of them was to show: "red cube, cyan sphere" or ("red cube", "cyan sphere").
        classifier: "referee", which no selection of ours ever used, or "resnet18", the official architecture.

    Returns:
        The scores of `scores`, with intervals over other conditions of the same kind.

    Raises:
        UserError: Other numbers of pictures and conditions, arrays of another kind, or an unknown object.
        DataError: No such classifier.
    """
    parsed = parse_conditions(conditions, OBJECTS)
    if isinstance(images, np.ndarray) and (images.dtype != np.uint8 or images.ndim != 4):
        raise UserError(f"`images` must be Pillow's or (N, H, W, C) uint8, got {images.dtype} of {images.shape}")
    if len(images) != len(conditions) or not len(images):
        raise UserError(f"there must be one condition per picture, got {len(conditions)} for {len(images)} pictures")
    class_labels = encode(parsed, OBJECTS)
    pillow = [image if isinstance(image, Image.Image) else to_pil(image) for image in images]
    pictures = np.stack([fit_picture(image, PICTURE_SIZE, "squash") for image in pillow])
    network = load_classifier(classifier_file(classifier), OBJECTS)
    return score_seeds(pictures[None], class_labels, {classifier: network})[classifier]


def score_seeds(
    pictures: NDArray[np.uint8], class_labels: torch.Tensor, classifiers: dict[str, torch.nn.Module]
) -> dict[str, Scores]:
    """The scores of (S, N, H, W, 3) i-CLEVR pictures of S seeds of N conditions, by each classifier."""
    seeds, count = pictures.shape[:2]
    resized = resize_pictures(pictures.reshape(-1, *pictures.shape[2:]), PICTURE_SIZE)
    scores = {}
    for name, classifier in classifiers.items():
        hits = top_k_hits(predict(classifier, resized).reshape(seeds, count, -1), class_labels)
        scores[name] = summarise(hits, class_labels, OBJECTS)
    return scores
