"""Scores: how many of the asked labels a classifier finds in the images.

For a condition of k labels, the labels with the classifier's k highest outputs count as what the image shows (the
official rule of i-CLEVR). An asked label among them is *found*. The scores of a list of conditions are:

    micro            labels found / labels asked (the official score)
    exact_match      images with all their labels found / images
    by_object_count  micro over the conditions with 1, 2, ... objects
    by_object        micro of a single object: its recall

The intervals are those of `intervals.Bootstrap`: they cover other seeds and other conditions of the same kind. They do
not cover another training of the model, mistakes of the classifier, or failures that never occurred (if every image is
right, the interval is [1, 1]).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypedDict

import numpy as np
import torch
from diffusers import ImagePipelineOutput
from numpy.typing import ArrayLike, NDArray
from PIL import Image
from torch import nn

from lab_ddpm.data.conditions import Condition, to_rows
from lab_ddpm.data.iclevr import OBJECTS
from lab_ddpm.data.images import COLOUR_MODES, Images, fit_image, resize_images, to_pil
from lab_ddpm.evaluation.classifiers import IMAGE_SIZE, classifier_file, load_classifier, predict
from lab_ddpm.evaluation.intervals import Bootstrap, Score, share_interval
from lab_ddpm.tools.errors import UserError


class Scores(TypedDict):
    """All scores of one list of conditions by one classifier, as in `metrics.json`."""

    micro: Score
    exact_match: Score
    by_object_count: dict[str, Score]
    by_object: dict[str, Score]


def score(
    images: Sequence[Image.Image] | NDArray[Any] | torch.Tensor | ImagePipelineOutput,
    conditions: Sequence[str | Condition] | NDArray[Any] | torch.Tensor,
    classifier: str = "referee",
) -> Scores:
    """Score i-CLEVR images of any size.

    Args:
        images: N Pillow images; an array (N, H, W, C), uint8 or in [0, 1]; a tensor (N, C, H, W) in [0, 1]; or what a
            pipeline returns.
        conditions: What each image should show: N texts such as "red cube, cyan sphere", N tuples of names, or
            (N, 24) multi-hot rows.
        classifier: "referee", or "resnet18", the official architecture.

    Returns:
        All scores, with intervals for other conditions of the same kind.

    Raises:
        UserError: The numbers of images and conditions differ, the images are of another kind, or an object is unknown.
        DataError: There is no such classifier.
    """
    class_labels, pillow = to_rows(conditions, OBJECTS), _to_pillow(images)
    if len(pillow) != len(class_labels) or not pillow:
        raise UserError(f"there must be one condition per image, got {len(class_labels)} for {len(pillow)} images")
    if class_labels.ndim != 2 or not class_labels.any(dim=1).all():
        raise UserError("each condition must be one row and name at least one object")
    fitted = np.stack([fit_image(image, IMAGE_SIZE, "squash") for image in pillow])
    network = load_classifier(classifier_file(classifier), OBJECTS)
    return score_seeds(fitted, class_labels, {classifier: network})[classifier]


def score_seeds(images: Images, class_labels: torch.Tensor, classifiers: Mapping[str, nn.Module]) -> dict[str, Scores]:
    """Score i-CLEVR images of several seeds with several classifiers, given and returned by name.

    Args:
        images: (S * N, H, W, 3) uint8, one seed after the other.
        class_labels: (N, 24) multi-hot.
    """
    resized = resize_images(images, IMAGE_SIZE)
    outputs = {name: predict(network, resized) for name, network in classifiers.items()}
    hits = {name: top_k_hits(found.reshape(-1, *class_labels.shape), class_labels) for name, found in outputs.items()}
    return {name: summarize(found, class_labels, OBJECTS) for name, found in hits.items()}


def summarize(hits: ArrayLike, class_labels: ArrayLike, labels: Sequence[str]) -> Scores:
    """All scores of a list, with intervals.

    Args:
        hits: (S, N, C) bool from `top_k_hits`, for S seeds of N conditions.
        class_labels: (N, C) multi-hot, at least one label each.
        labels: The C names.

    Returns:
        Plain numbers, ready for JSON. Object counts and objects that no condition asks for are left out.
    """
    found = np.asarray(hits, dtype=np.float64)
    asked = (np.asarray(class_labels) > 0).astype(np.float64)
    found_sum, asked_sum = found.sum(axis=-1), asked.sum(axis=-1)
    bootstrap = Bootstrap(len(found), len(asked))
    of_count = {str(int(count)): asked_sum == count for count in np.unique(asked_sum)}
    return Scores(
        micro=bootstrap.ratio(found_sum, asked_sum),
        exact_match=bootstrap.ratio((found_sum == asked_sum).astype(np.float64), np.ones_like(asked_sum)),
        by_object_count={name: bootstrap.ratio(found_sum * rows, asked_sum * rows) for name, rows in of_count.items()},
        by_object={
            name: bootstrap.ratio(found[..., column], asked[:, column])
            for column, name in enumerate(labels)
            if asked[:, column].any()
        },
    )


def top_k_hits(outputs: ArrayLike, class_labels: ArrayLike) -> NDArray[np.bool_]:
    """Which asked labels are among the top k outputs, k being the number of asked labels.

    Args:
        outputs: (..., N, C) probabilities, or any increasing function of them. In a tie the lower index wins.
        class_labels: (N, C) multi-hot.

    Returns:
        (..., N, C) bool, true where a label is asked and found.
    """
    asked = np.asarray(class_labels) > 0
    order = np.argsort(-np.asarray(outputs), axis=-1, kind="stable")
    rank = np.argsort(order, axis=-1)
    return asked & (rank < asked.sum(axis=-1, keepdims=True))


def top_k(outputs: ArrayLike, k: int) -> NDArray[np.int64]:
    """The indices of the k highest of (C,) outputs, highest first. In a tie the lower index wins."""
    return np.argsort(-np.asarray(outputs), kind="stable")[:k]


def found_in(classifier: nn.Module, images: Images, class_labels: torch.Tensor) -> dict[str, Score]:
    """`micro` and `exact_match` of images with known labels, as if all labels were independent (Wilson's interval).

    For images with one label each, `micro` is the class accuracy.

    Args:
        classifier: A classifier on any device.
        images: (N, H, W, C) uint8, in the classifier's size.
        class_labels: (N, num_labels) multi-hot, not all zero.
    """
    asked = class_labels.numpy() > 0
    found = top_k_hits(predict(classifier, images), asked)
    return {
        "micro": share_interval(int(found.sum()), int(asked.sum())),
        "exact_match": share_interval(int((found == asked).all(axis=1).sum()), len(asked)),
    }


def _to_pillow(images: Any) -> Sequence[Image.Image]:
    if isinstance(images, ImagePipelineOutput):
        images = images.images
    if isinstance(images, (list, tuple)) and all(isinstance(image, Image.Image) for image in images):
        return images
    array = images
    if isinstance(images, torch.Tensor) and images.is_floating_point() and images.ndim == 4:
        array = images.movedim(1, -1).float().numpy(force=True)
    if isinstance(array, np.ndarray) and array.ndim == 4 and array.shape[-1] in COLOUR_MODES:
        if array.dtype.kind == "f" and ((array >= 0) & (array <= 1)).all():
            array = (array * 255).round().astype(np.uint8)
        if array.dtype == np.uint8:
            return [to_pil(image) for image in array]
    is_array = isinstance(images, (np.ndarray, torch.Tensor))
    got = f"{images.dtype} of {tuple(images.shape)}" if is_array else f"a {type(images).__name__}"
    raise UserError(
        "`images` must be a list of Pillow images, an array (N, H, W, C), uint8 or in [0, 1], or a tensor (N, C, H, W) "
        f"in [0, 1], got {got}"
    )
