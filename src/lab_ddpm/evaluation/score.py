"""The scores of images that are there: what a classifier finds of what was asked for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from diffusers import ImagePipelineOutput
from numpy.typing import NDArray
from PIL import Image

from lab_ddpm.data.conditions import Condition, to_rows
from lab_ddpm.data.iclevr import OBJECTS
from lab_ddpm.data.images import KINDS, fit_image, resize_images, to_pil
from lab_ddpm.evaluation.classifiers import IMAGE_SIZE, classifier_file, load_classifier, predict
from lab_ddpm.evaluation.object_scores import Scores, summarise, top_k_hits
from lab_ddpm.tools.errors import UserError


def score(
    images: Sequence[Image.Image] | NDArray[Any] | torch.Tensor | ImagePipelineOutput,
    conditions: Sequence[str | Condition] | NDArray[Any] | torch.Tensor,
    classifier: str = "referee",
) -> Scores:
    """Score images of i-CLEVR, of any size.

    Args:
        images: Pillow images; an array (N, H, W, C), uint8 or of numbers in [0, 1]; a tensor (N, C, H, W) in [0, 1];
            or what a pipeline returns.
        conditions: What each of them was to show: "red cube, cyan sphere" or ("red cube", "cyan sphere"), or (N, 24)
            multi-hot rows.
        classifier: "referee", which picks no checkpoint and no setting of ours, or "resnet18", the official
            architecture.

    Returns:
        The scores of `object_scores`, with intervals over other conditions of the same kind.

    Raises:
        UserError: Other numbers of images and conditions, images of another kind, or an unknown object.
        DataError: No such classifier.
    """
    class_labels, pillow = to_rows(conditions, OBJECTS), _to_pillow(images)
    if len(pillow) != len(class_labels) or not pillow:
        raise UserError(f"there must be one condition per image, got {len(class_labels)} for {len(pillow)} images")
    if class_labels.ndim != 2:
        raise UserError(f"`conditions` must be (N, {len(OBJECTS)}) rows, got {tuple(class_labels.shape)}")
    if not class_labels.any(dim=1).all():
        raise UserError("a condition must name at least one object, got an empty one")
    fitted = np.stack([fit_image(image, IMAGE_SIZE, "squash") for image in pillow])
    network = load_classifier(classifier_file(classifier), OBJECTS)
    return score_seeds(fitted, class_labels, {classifier: network})[classifier]


def _to_pillow(images: Any) -> Sequence[Image.Image]:
    if isinstance(images, ImagePipelineOutput):
        images = images.images
    if isinstance(images, (list, tuple)) and all(isinstance(image, Image.Image) for image in images):
        return images
    array = images
    if isinstance(images, torch.Tensor) and images.is_floating_point() and images.ndim == 4:
        array = images.movedim(1, -1).float().numpy(force=True)
    if isinstance(array, np.ndarray) and array.ndim == 4 and array.shape[-1] in KINDS:
        if array.dtype.kind == "f" and ((array >= 0) & (array <= 1)).all():
            array = (array * 255).round().astype(np.uint8)
        if array.dtype == np.uint8:
            return [to_pil(image) for image in array]
    is_array = isinstance(images, (np.ndarray, torch.Tensor))
    got = f"{images.dtype} of {tuple(images.shape)}" if is_array else f"a {type(images).__name__}"
    raise UserError(
        "`images` must be a list of Pillow's, an array (N, H, W, C), uint8 or in [0, 1], or a tensor (N, C, H, W) in "
        f"[0, 1], got {got}"
    )


def score_seeds(
    images: NDArray[np.uint8], class_labels: torch.Tensor, classifiers: dict[str, torch.nn.Module]
) -> dict[str, Scores]:
    """The scores of (S * N, H, W, 3) i-CLEVR images, S seeds of N conditions seed by seed, by each classifier."""
    resized = resize_images(images, IMAGE_SIZE)
    scores = {}
    for name, classifier in classifiers.items():
        by_seed = predict(classifier, resized).reshape(-1, *class_labels.shape)
        hits = top_k_hits(by_seed, class_labels)
        scores[name] = summarise(hits, class_labels, OBJECTS)
    return scores
