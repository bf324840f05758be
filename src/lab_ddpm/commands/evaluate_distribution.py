"""`evaluate-distribution`: samples of a model against the real pictures of its data set, as two sets."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import PartialState
from torch import nn

from lab_ddpm.classifiers.networks import EVALUATOR_DIR, Features, load_classifier, predict
from lab_ddpm.conditions import labels_in_turn
from lab_ddpm.data.dataset import open_dataset, open_held_out, short_name
from lab_ddpm.data.picture_cache import PictureDataset
from lab_ddpm.distribution import compare, extract, inception_features, nearest
from lab_ddpm.errors import UserError, check_at_least
from lab_ddpm.figures import copies_figure
from lab_ddpm.files import check_writable, write_json
from lab_ddpm.generation import generate, picture_seeds
from lab_ddpm.images import Pictures, write_png
from lab_ddpm.sampler import Sampler, open_sampler

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

    As many held-out real pictures, chosen at random, go through the same comparison: no model can be expected to beat
    their values. (Distances of fewer pictures come out larger: where there are fewer, their number is in the file.)
    Writes `metrics.json`, and `copies.png` with the samples that are closest to a training picture.
    """
    check_at_least("num-pictures", num_pictures, 4)
    check_at_least("num-seeds", num_seeds, 1)
    check_writable(out)
    sampler = open_sampler(checkpoint, scheduler, steps, guidance_scale)
    size = sampler.pipeline.unet.config["sample_size"]
    training = open_dataset(dataset, root, size)
    real_pictures, real_labels = some_held_out(open_held_out(dataset, root, held_out, size), num_pictures)
    if sampler.labels and sampler.labels != training.labels:
        raise UserError(f"{sampler.checkpoint} was trained on other labels than those of {root}")
    classifier, network, name = _open_features(features, dataset, root, training)
    class_labels, guidance = _wanted_labels(sampler, unconditional, num_pictures)
    training_features = extract(network, training.pictures)
    runs = []
    samples: list[Pictures] = []
    for seed in range(num_seeds):
        pictures = generate(
            sampler.pipeline,
            class_labels,
            picture_seeds(seed, num_pictures),
            steps,
            guidance,
            batch_size=256,
            progress=f"sampling seed {seed}",
        )
        scores = compare(training_features, extract(network, pictures))
        if classifier is not None and class_labels.any():
            scores["class_accuracy"] = _accuracy(classifier, pictures, class_labels)
        runs.append(scores)
        samples.append(pictures)
    if not PartialState().is_main_process:
        return 0
    floor = compare(training_features, extract(network, real_pictures))
    if classifier is not None:
        floor["class_accuracy"] = _accuracy(classifier, real_pictures, real_labels)
    distances, places = nearest(samples[0], training.pictures)
    real_distances, _ = nearest(real_pictures, training.pictures)
    closest = distances.argsort()[:_COPIES_SHOWN]
    write_png(out / "copies.png", copies_figure(samples[0][closest], training.pictures[places[closest]]))
    threshold = float(real_distances.quantile(0.01))
    content = {
        **sampler.settings(),
        "guidance_scale": guidance,
        "conditional": bool(class_labels.any()),
        "seeds": list(range(num_seeds)),
        "num_pictures": num_pictures,
        "features": name,
        "scores": {key: summary([run[key] for run in runs]) for key in runs[0]},
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


def summary(values: list[float]) -> dict[str, Any]:
    """Mean over seeds and its 95 % interval (Student's t); no interval for one seed."""
    mean = float(np.mean(values))
    if len(values) < 2:
        return {"mean": mean, "ci95": None}
    half = _student(len(values) - 1) * float(np.std(values, ddof=1)) / math.sqrt(len(values))
    return {"mean": mean, "ci95": [mean - half, mean + half]}


def _student(degrees: int) -> float:
    from scipy.stats import t

    return float(t.ppf(0.975, degrees))


def _open_features(
    features: str | None, dataset: str, root: Path, training: PictureDataset
) -> tuple[nn.Module | None, nn.Module, str]:
    """The classifier of the labels if there is one, the network whose features are compared, and its name."""
    device = PartialState().device
    if features == "inception":
        return None, inception_features().to(device), "inception"
    path = Path(features) if features else EVALUATOR_DIR / f"{short_name(dataset, root)}.safetensors"
    classifier = load_classifier(path, labels=training.labels).to(device)
    return classifier, Features(classifier), str(path)


def _wanted_labels(sampler: Sampler, unconditional: bool, num_pictures: int) -> tuple[torch.Tensor, float]:
    """(N, num_labels) every label in turn, or none at all; and the guidance that goes with them."""
    num_labels = len(sampler.labels)
    if unconditional or not num_labels:
        return torch.zeros(num_pictures, num_labels), sampler.unguided()
    return labels_in_turn(num_labels, num_pictures), sampler.guidance_scale


def some_held_out(held_out: PictureDataset, count: int) -> tuple[Pictures, torch.Tensor]:
    """At most `count` of them, at random: folders come sorted by class."""
    chosen = np.random.default_rng(0).permutation(len(held_out))[:count]
    return held_out.pictures[chosen], held_out.class_labels[chosen]


def _accuracy(classifier: nn.Module, pictures: Pictures, class_labels: torch.Tensor) -> float:
    """Share of the pictures whose likeliest label is the one of their row of (N, num_labels) one-hot labels."""
    right = predict(classifier, pictures).argmax(axis=1) == class_labels.argmax(dim=1).numpy()
    return float(right.mean())


def _print_table(content: dict[str, Any]) -> None:
    print(f"features: {content['features']}")
    print(f"{'':<16} {'model':<36} held-out real pictures")
    for key, score in content["scores"].items():
        interval = "" if score["ci95"] is None else f" [{score['ci95'][0]:.4f}, {score['ci95'][1]:.4f}]"
        value = f"{score['mean']:.4f}{interval}"
        print(f"{key:<16} {value:<36} {content['held_out'][key]:.4f}")
