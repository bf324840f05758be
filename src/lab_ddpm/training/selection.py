"""How best/ is chosen: for each kind of images, what a run samples at an evaluation, and the score of the samples.

    micro         i-CLEVR: objects found / objects asked for in the conditions of a list, by the classifier resnet18
    exact_match   i-CLEVR: images with all their objects found / images, by the same classifier
    labels_found  other labelled images: labels found / labels asked for, all equally often, by a classifier of the same
                  images
    frechet       other images: the distance between samples and real images, in the features of such a classifier

`evaluate --against` uses the same classifier as the last two, so its score of a chosen pipeline is a little too good.
All scores of a run are of the same kind and by the same classifier.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from lab_ddpm.data.conditions import Condition, encode, every_label, load_conditions
from lab_ddpm.data.iclevr import OBJECTS, resolve_split
from lab_ddpm.data.image_dataset import ImageDataset
from lab_ddpm.data.images import Images
from lab_ddpm.data.open_dataset import short_name
from lab_ddpm.evaluation.classifiers import (
    EVALUATOR_DIR,
    SELECTING_CLASSIFIER,
    Features,
    classifier_file,
    load_classifier,
)
from lab_ddpm.evaluation.distances import extract, frechet_distance
from lab_ddpm.evaluation.scores import found_in, score_seeds
from lab_ddpm.tools.errors import UserError, check_at_least
from lab_ddpm.tools.files import sha256
from lab_ddpm.tools.shipped import find_shipped
from lab_ddpm.training.config import TrainConfig
from lab_ddpm.training.progress import Progress

_FEWEST_IMAGES = 4  # a distance needs them
_SHOWN = 64  # images of an evaluation without a score
_REAL_IMAGES = 5000  # number of images whose features the samples are compared with


@dataclass(frozen=True)
class Selection:
    """A way to choose.

    Attributes:
        metric: The name of its score, in the config and in the result of `score`.
        conditions: The conditions to sample, one image for each.
        file: The file of the classifier; None for none.
        score: Scores the (N, H, W, C) uint8 samples of the conditions. Returns each score by name, with "mean" and
            "ci95"; nothing if the newest pipeline is the best.
        smaller_is_better: Whether the smallest score is the best one.
    """

    metric: str
    conditions: list[Condition]
    file: Path | None
    score: Callable[[Images], Mapping[str, Any]]
    smaller_is_better: bool = False

    def as_rank(self, scores: Mapping[str, Any]) -> float:
        """The score as a number that is highest for the best pipeline."""
        mean = scores[self.metric]["mean"] if scores else 0.0
        return -mean if self.smaller_is_better else mean


def make_selection(config: TrainConfig, dataset: ImageDataset, device: torch.device, progress: Progress) -> Selection:
    """The way to choose that `config.evaluation.metric` names. "auto" takes the first that is possible at the start.

    A new run gets its metric in `progress` here; a continued one keeps it.

    Raises:
        UserError, DataError: The split or the classifier is missing or not usable, or the run started with others.
    """
    metric = config.evaluation.metric
    if metric == "auto":
        metric = progress.metric or _first_metric(config, dataset.labels)
    selection = _SELECTIONS[metric](config, dataset, device)
    scored_by = ""
    if selection.file is not None:
        scored_by = hashlib.sha256(f"{sha256(selection.file)} {selection.conditions}".encode()).hexdigest()[:16]
    if progress.metric and scored_by != progress.scored_by:
        raise UserError(
            f"the classifier {selection.file} and the conditions must be those that scored the run so far; put them "
            "back, or choose another `--name`"
        )
    progress.metric, progress.scored_by = metric, scored_by
    return selection


def _first_metric(config: TrainConfig, labels: tuple[str, ...]) -> str:
    if config.data.dataset == "iclevr":
        return "micro" if labels else "none"
    if config.evaluation.classifier is None and not _classifier_of_images(config).is_file():
        return "none"
    return "labels_found" if labels else "frechet"


def _classifier_of_images(config: TrainConfig) -> Path:
    own = EVALUATOR_DIR / f"{short_name(config.data.dataset, config.data.root)}.safetensors"
    return find_shipped(config.evaluation.classifier or own)


def _newest(config: TrainConfig, dataset: ImageDataset, device: torch.device) -> Selection:
    """No score: the newest pipeline is the best."""
    count = min(config.evaluation.num_images, _SHOWN)
    return Selection("none", every_label(dataset.labels, count), None, lambda _: {})


def _objects_found(
    config: TrainConfig, dataset: ImageDataset, device: torch.device, metric: str = "micro"
) -> Selection:
    """The scores of i-CLEVR, with intervals for other conditions of the same kind."""
    file = classifier_file(SELECTING_CLASSIFIER)
    conditions = load_conditions(resolve_split(config.evaluation.split, config.data.root), OBJECTS)
    classifiers, class_labels = {"": load_classifier(file, OBJECTS).to(device)}, encode(conditions, OBJECTS)
    return Selection(metric, conditions, file, lambda images: score_seeds(images, class_labels, classifiers)[""])


def _labels_found(config: TrainConfig, dataset: ImageDataset, device: torch.device) -> Selection:
    """Labels found / labels asked for: the class accuracy, with Wilson's interval."""
    file, labels = _classifier_of_images(config), dataset.labels
    classifier = load_classifier(file, labels, dataset.images.shape[-1]).to(device)
    conditions = every_label(labels, config.evaluation.num_images)

    def score(images: Images) -> Mapping[str, Any]:
        return {"labels_found": found_in(classifier, images, encode(conditions, labels))["micro"]}

    return Selection("labels_found", conditions, file, score)


def _frechet_distance(config: TrainConfig, dataset: ImageDataset, device: torch.device) -> Selection:
    """The distance of the features of samples from those of real images, without an interval."""
    file, labels = _classifier_of_images(config), dataset.labels
    features = Features(load_classifier(file, labels or None, dataset.images.shape[-1]).to(device))
    check_at_least("evaluation.num_images", config.evaluation.num_images, _FEWEST_IMAGES)
    if len(dataset) < _FEWEST_IMAGES:
        raise UserError(f"`evaluation.metric` 'frechet' needs {_FEWEST_IMAGES} training images, got {len(dataset)}")
    real = extract(features, dataset.some(_REAL_IMAGES, seed=0)[0])

    def score(images: Images) -> Mapping[str, Any]:
        return {"frechet": {"mean": frechet_distance(real, extract(features, images)), "ci95": None}}

    conditions = every_label(labels, config.evaluation.num_images)
    return Selection("frechet", conditions, file, score, smaller_is_better=True)


_SELECTIONS: dict[str, Callable[[TrainConfig, ImageDataset, torch.device], Selection]] = {
    "micro": _objects_found,
    "exact_match": partial(_objects_found, metric="exact_match"),
    "labels_found": _labels_found,
    "frechet": _frechet_distance,
    "none": _newest,
}
