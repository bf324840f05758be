"""`evaluate-distribution`: samples of a model against the real pictures of its data set, as two sets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import PartialState
from torch import nn

from lab_ddpm.classifiers.networks import EVALUATOR_DIR, Features, load_classifier, predict
from lab_ddpm.data.dataset import open_dataset, open_held_out, short_name
from lab_ddpm.data.picture_cache import PictureDataset
from lab_ddpm.distribution import compare, extract, inception_features, nearest
from lab_ddpm.errors import DataError, check_at_least
from lab_ddpm.evaluation import labels_found
from lab_ddpm.figures import copies_figure
from lab_ddpm.files import check_writable, write_json
from lab_ddpm.generation import generate, picture_seeds
from lab_ddpm.images import Pictures, write_png
from lab_ddpm.intervals import as_text, mean_interval
from lab_ddpm.sampler import open_sampler

_COPIES_SHOWN = 16


def run(
    dataset: str,
    root: Path,
    held_out: Path | None,
    features: str | None,
    checkpoint: Path | None,
    scheduler: str,
    steps: int,
    guidance_scale: float | None,
    unconditional: bool,
    num_pictures: int,
    num_seeds: int,
    out: Path,
) -> int:
    """Sample `num_pictures` for each of the seeds 0 ... num_seeds - 1, and compare them with the training pictures.

    A conditional model is asked for the labels of training pictures chosen at random, another set for each seed. As
    many held-out real pictures, chosen at random, go through the same comparison: no model can be expected to beat
    their values. (Distances of fewer pictures come out larger: where there are fewer, their number is printed.)
    Writes `metrics.json`, and `copies.png` with the samples that are closest to a training picture.
    """
    check_at_least("num-pictures", num_pictures, 4)
    check_at_least("num-seeds", num_seeds, 1)
    check_writable(out)
    sampler = open_sampler(checkpoint, scheduler, steps, guidance_scale)
    size = sampler.pipeline.unet.config["sample_size"]
    training, real = open_dataset(dataset, root, size), open_held_out(dataset, root, held_out, size)
    sampler.check_data(training)
    if real.labels != training.labels:
        raise DataError(
            f"the held-out pictures must have the labels {list(training.labels)}, as those in {root}, "
            f"got {list(real.labels)}"
        )
    classifier, network, name = _open_features(features, dataset, root, training)
    conditional = bool(sampler.labels) and not unconditional
    guidance = sampler.guidance_scale if conditional else sampler.unguided()
    training_features = extract(network, training.pictures)

    def scores(pictures: Pictures, class_labels: torch.Tensor) -> dict[str, float]:
        found = compare(training_features, extract(network, pictures))
        if classifier is not None and class_labels.any():
            found["labels_found"] = labels_found(predict(classifier, pictures), class_labels)
        return found

    real_pictures, real_labels = some_of(real, num_pictures, seed=0)
    floor = scores(real_pictures, real_labels)
    runs: list[dict[str, float]] = []
    first = np.empty(0, dtype=np.uint8)
    for seed in range(num_seeds):
        asked = some_labels(training, num_pictures, seed) if conditional else torch.zeros(num_pictures, 0)
        pictures = generate(
            sampler.pipeline,
            asked if conditional else torch.zeros(num_pictures, len(sampler.labels)),
            picture_seeds(seed, num_pictures),
            steps,
            guidance,
            batch_size=256,
            progress=f"sampling seed {seed}",
        )
        if seed == 0:
            first = pictures
        runs.append(scores(pictures, asked))
    if not PartialState().is_main_process:
        return 0
    distances, places = nearest(first, training.pictures)
    real_distances, _ = nearest(real_pictures, training.pictures)
    closest = distances.argsort()[:_COPIES_SHOWN]
    write_png(out / "copies.png", copies_figure(first[closest], training.pictures[places[closest]]))
    threshold = float(real_distances.quantile(0.01))
    content = {
        **sampler.settings(),
        "guidance_scale": guidance,
        "conditional": conditional,
        "seeds": list(range(num_seeds)),
        "num_pictures": num_pictures,
        "features": name,
        "scores": {key: mean_interval([run[key] for run in runs]) for key in runs[0]},
        "held_out": floor,
        "num_held_out": len(real_pictures),
        "nearest_training_picture": {
            "median": float(distances.median()),
            "held_out_median": float(real_distances.median()),
            "share_below_first_percentile_of_held_out": float((distances < threshold).float().mean()),
        },
    }
    write_json(out / "metrics.json", content)
    _print_table(content)
    print(f"wrote metrics.json and copies.png to {out}/")
    return 0


def _open_features(
    features: str | None, dataset: str, root: Path, training: PictureDataset
) -> tuple[nn.Module | None, nn.Module, str]:
    """The classifier of the labels if there are any, the network whose features are compared, and its name."""
    device = PartialState().device
    if features == "inception":
        return None, inception_features().to(device), "inception"
    path = Path(features) if features else EVALUATOR_DIR / f"{short_name(dataset, root)}.safetensors"
    classifier = load_classifier(path, labels=training.labels or None).to(device)
    return classifier if training.labels else None, Features(classifier), str(path)


def some_of(dataset: PictureDataset, count: int, seed: int) -> tuple[Pictures, torch.Tensor]:
    """At most `count` pictures and their labels, at random: folders come sorted by class."""
    chosen = np.random.default_rng(seed).permutation(len(dataset))[:count]
    return dataset.pictures[chosen], dataset.class_labels[chosen]


def some_labels(dataset: PictureDataset, count: int, seed: int) -> torch.Tensor:
    """(count, num_labels): the labels of pictures drawn at random, with replacement."""
    return dataset.class_labels[np.random.default_rng(seed).integers(len(dataset), size=count)]


def _print_table(content: dict[str, Any]) -> None:
    print(f"features: {content['features']}")
    print(f"{'':<16} {'model':<36} {content['num_held_out']} held-out real pictures")
    for key, score in content["scores"].items():
        print(f"{key:<16} {as_text(score, '.4f'):<36} {content['held_out'][key]:.4f}")
