"""Samples of a model against the real images of its data set, as two sets: see `evaluation.distribution`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from lab_ddpm.data.conditions import Condition
from lab_ddpm.data.image_cache import ImageDataset
from lab_ddpm.data.images import Images, write_png
from lab_ddpm.diffusion.reverse_process import image_seeds
from lab_ddpm.drawing.figures import copies_figure
from lab_ddpm.evaluation.classifiers import Features, load_classifier, predict
from lab_ddpm.evaluation.distribution import compare, extract, inception_features, nearest
from lab_ddpm.evaluation.intervals import mean_interval
from lab_ddpm.evaluation.object_scores import labels_found
from lab_ddpm.generation.sampler import Sampler
from lab_ddpm.tools.errors import DataError, UserError
from lab_ddpm.tools.files import write_json
from lab_ddpm.tools.hardware import this_process

_COPIES_SHOWN = 16


def compare_with_data(
    sampler: Sampler,
    training: ImageDataset,
    held_out: ImageDataset,
    features: str,
    num_images: int,
    num_seeds: int,
    conditional: bool,
    out: Path,
) -> dict[str, Any] | None:
    """Sample `num_images` for each of the seeds 0 ... num_seeds - 1, and compare them with the training images.

    A conditional model is asked for the labels of training images chosen at random, another set for each seed. As
    many held-out real images, chosen at random, go through the same comparison: no model can be expected to beat
    their values. (Distances of fewer images come out larger: where there are fewer, their number is in the result.)
    Writes `metrics.json`, and `copies.png` with the samples that are closest to a training image.

    Args:
        sampler: Of the model.
        training, held_out: Real images, of the same labels.
        features: "inception", or a classifier's file.
        num_images: Of each seed.
        num_seeds: Seeds.
        conditional: Whether to sample under labels.
        out: Where the files go.

    Returns:
        The content of `metrics.json`; None on all but the main process, which alone looks for copies.

    Raises:
        UserError: Images or a guidance that do not fit the model.
        DataError: The two parts have other labels, or the classifier does not fit them.
    """
    sampler.check_data(training)
    if held_out.labels != training.labels:
        raise DataError(
            f"the held-out images must have the labels {list(training.labels)} of the training images, "
            f"got {list(held_out.labels)}"
        )
    if conditional and not training.labels:
        raise UserError("these images have no labels to ask the model for: `--unconditional`")
    classifier, network = _open_features(features, training)
    training_features = extract(network, training.images)

    def scores(images: Images, class_labels: torch.Tensor) -> dict[str, float]:
        found = compare(training_features, extract(network, images))
        if classifier is not None and class_labels.any():
            found["labels_found"] = labels_found(predict(classifier, images), class_labels)
        return found

    real_images, real_labels = held_out.some(num_images, seed=0)
    floor = scores(real_images, real_labels)
    no_condition: list[Condition] = [()] * num_images
    runs = []
    for seed in range(num_seeds):
        asked = training.some_labels(num_images, seed) if conditional else no_condition
        samples = sampler.sample(asked, image_seeds(seed, num_images), batch_size=256, progress=f"sampling seed {seed}")
        runs.append((samples, scores(samples.images, samples.class_labels)))
    if not this_process().is_main_process:
        return None
    first, _ = runs[0]
    distances, places = nearest(first.images, training.images)
    real_distances, _ = nearest(real_images, training.images)
    threshold = float(real_distances.quantile(0.01))
    content = {
        **sampler.settings(first),
        "conditional": conditional,
        "seeds": list(range(num_seeds)),
        "num_images": num_images,
        "features": features,
        "scores": {key: mean_interval([values[key] for _, values in runs]) for key in runs[0][1]},
        "held_out": floor,
        "num_held_out": len(real_images),
        "nearest_training_image": {
            "median": float(distances.median()),
            "held_out_median": float(real_distances.median()),
            "share_below_first_percentile_of_held_out": float((distances < threshold).float().mean()),
        },
    }
    closest = np.asarray(distances.argsort()[:_COPIES_SHOWN])
    write_png(out / "copies.png", copies_figure(first.images[closest], training.images[places[closest]]))
    write_json(out / "metrics.json", content)
    return content


def _open_features(features: str, training: ImageDataset) -> tuple[nn.Module | None, nn.Module]:
    """The classifier of the labels if there are any, and the network whose features are compared."""
    device = this_process().device
    if features == "inception":
        return None, inception_features().to(device)
    classifier = load_classifier(features, training.labels or None, training.images.shape[-1]).to(device)
    return classifier if training.labels else None, Features(classifier)
