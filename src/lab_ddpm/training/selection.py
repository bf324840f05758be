"""What best/ is chosen by: for each kind of images, what to sample while a run trains, and the score of the samples.

    objects found     i-CLEVR: the conditions of a list, read by the classifier resnet18
    labels found      other labelled images: every label alike, read by a classifier of that data set
    Frechet distance  other images: the features of such a classifier, of samples and of real images

The classifier of the last two is also the one that `evaluate_distribution` uses, so a score of its is a little too good
where it has chosen. All scores of a run are of one kind, by one classifier.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from lab_ddpm.data.conditions import Condition, encode, every_label, load_conditions
from lab_ddpm.data.dataset import short_name
from lab_ddpm.data.iclevr import OBJECTS, resolve_split
from lab_ddpm.data.image_cache import ImageDataset
from lab_ddpm.data.images import Images
from lab_ddpm.evaluation.classifiers import (
    EVALUATOR_DIR,
    SELECTING_CLASSIFIER,
    Features,
    classifier_file,
    load_classifier,
)
from lab_ddpm.evaluation.distribution import extract, frechet_distance
from lab_ddpm.evaluation.measuring import found_in
from lab_ddpm.evaluation.object_scores import Scores
from lab_ddpm.evaluation.score import score_seeds
from lab_ddpm.tools.errors import UserError, check_at_least
from lab_ddpm.tools.files import file_hash
from lab_ddpm.tools.shipped import find
from lab_ddpm.training.config import TrainConfig

_FEWEST_IMAGES = 4  # that have a distance
_REAL_IMAGES = 5000  # that the features of samples are compared with


@dataclass(frozen=True)
class Selection:
    """A way to choose; this one samples every label alike and chooses nothing: the newest pipeline is the best.

    Attributes:
        metric: Its name in the config, and in what `score` returns.
        classifier_hash: Of the file of the classifier; empty for none.
        conditions: What to sample: one image each.
    """

    metric: str
    classifier_hash: str
    conditions: list[Condition]

    def score(self, images: Images) -> Scores | Mapping[str, Mapping[str, object]]:
        """Scores by name, each with its "mean" and "ci95", of the (N, H, W, C) uint8 samples of the conditions."""
        return {}

    def worth(self, scores: Mapping) -> float:
        """What the best pipeline has most of."""
        return scores[self.metric]["mean"] if scores else 0.0


@dataclass(frozen=True)
class ObjectsFound(Selection):
    """The scores of i-CLEVR."""

    classifier: nn.Module

    def score(self, images: Images) -> Scores:
        """As in `Selection`; intervals over other conditions of the same kind."""
        classifiers = {SELECTING_CLASSIFIER: self.classifier}
        return score_seeds(images, encode(self.conditions, OBJECTS), classifiers)[SELECTING_CLASSIFIER]


@dataclass(frozen=True)
class LabelsFound(Selection):
    """Labels found / labels asked: the class accuracy."""

    labels: tuple[str, ...]
    classifier: nn.Module

    def score(self, images: Images) -> Mapping[str, Mapping[str, object]]:
        """As in `Selection`; Wilson's interval."""
        found = found_in(self.classifier, images, encode(self.conditions, self.labels))
        return {self.metric: found["micro"]}


@dataclass(frozen=True)
class FrechetDistance(Selection):
    """The distance of the features of samples from those of real images."""

    features: nn.Module
    real: torch.Tensor

    def score(self, images: Images) -> Mapping[str, Mapping[str, object]]:
        """As in `Selection`; without an interval."""
        return {self.metric: {"mean": frechet_distance(self.real, extract(self.features, images)), "ci95": None}}

    def worth(self, scores: Mapping) -> float:
        """The smaller the distance, the better."""
        return -scores[self.metric]["mean"]


def make_selection(
    config: TrainConfig,
    dataset: ImageDataset,
    device: torch.device,
    begun_metric: str = "",
    begun_classifier: str = "",
) -> Selection:
    """The way that `config.evaluation.metric` names, or, for "auto", the first that could be had when the run began.

    Args:
        config: Of the run.
        dataset: The training images, with labels if the model is conditional.
        device: Where classifiers run.
        begun_metric, begun_classifier: The `metric` and the `classifier_hash` that the run began with, if it did.

    Raises:
        UserError, DataError: The split or the classifier is not there or not usable, or the run began with another
            classifier.
    """
    settings, labels = config.evaluation, dataset.labels
    metric = settings.metric
    if metric == "auto":
        metric = begun_metric or _first_metric(config, labels)
    conditions = every_label(labels, settings.num_images)
    if metric == "none":
        return Selection(metric, "", conditions)
    file = _classifier_file(config)
    found = file_hash(file) if file.is_file() else ""
    if begun_metric and found != begun_classifier:
        raise UserError(
            f"{file} must be the classifier that the scores of the run are by (sha256 {begun_classifier}), got "
            f"{found or 'no file'}; put that one back, or choose another `--name`"
        )
    if metric in ("micro", "exact_match"):
        path = resolve_split(settings.split, config.data.root)
        return ObjectsFound(metric, found, load_conditions(path, labels), load_classifier(file, labels).to(device))
    classifier = load_classifier(file, labels or None, dataset.images.shape[-1]).to(device)
    if metric == "labels_found":
        return LabelsFound(metric, found, conditions, labels, classifier)
    check_at_least("evaluation.num_images", settings.num_images, _FEWEST_IMAGES)
    features, (real, _) = Features(classifier), dataset.some(_REAL_IMAGES, seed=0)
    return FrechetDistance(metric, found, conditions, features, extract(features, real))


def _first_metric(config: TrainConfig, labels: tuple[str, ...]) -> str:
    if config.data.dataset == "iclevr":
        return "micro" if labels else "none"
    there = config.evaluation.classifier is not None or _classifier_file(config).is_file()  # a named one must be there
    return "none" if not there else "labels_found" if labels else "frechet"


def _classifier_file(config: TrainConfig) -> Path:
    if config.evaluation.classifier is not None:
        return find(config.evaluation.classifier)
    if config.data.dataset == "iclevr":
        return classifier_file(SELECTING_CLASSIFIER)
    return find(EVALUATOR_DIR / f"{short_name(config.data.dataset, config.data.root)}.safetensors")
