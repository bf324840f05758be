"""`evaluate`: from plain arguments to scores, and a last line that says what was written where."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from accelerate import PartialState
from numpy.typing import NDArray

from lab_ddpm.classifiers.networks import CLASSIFIERS, PICTURE_SIZE, classifier_file, load_classifier, predict
from lab_ddpm.conditions import OBJECTS, Condition, count_seen, encode, load_conditions, load_labels, resolve_split
from lab_ddpm.data.numbered_pictures import read_numbered_pictures
from lab_ddpm.errors import DataError, UserError, check_at_least
from lab_ddpm.evaluation import Score, Scores, summarise, top_k_hits
from lab_ddpm.files import check_writable, read_json, write_json
from lab_ddpm.generation import generate, picture_seeds
from lab_ddpm.images import resize_pictures
from lab_ddpm.sampler import open_sampler


def run(
    split: Sequence[str] | None,
    images: Path | None,
    checkpoint: Path | None,
    scheduler: str | None,
    steps: int | None,
    guidance_scale: float | None,
    num_seeds: int | None,
    out: Path,
    root: Path,
) -> int:
    """Score samples of each split (by default test and new_test), or the pictures of `images`, made for one split.

    The samples are those of the seeds 0 ... num_seeds - 1 (default 4), by 50 steps of "ddim" unless others are given.
    Prints a table and writes metrics.json.
    """
    if images is not None:
        if split is None or len(split) != 1:
            raise UserError("`--images` needs the one `--split` that its pictures were made for")
        if any(option is not None for option in (checkpoint, scheduler, steps, guidance_scale, num_seeds)):
            raise UserError("`--images` scores pictures that exist: options of sampling do not go with it")
        return _evaluate_pictures(images, split[0], out, root)
    num_seeds = 4 if num_seeds is None else num_seeds
    steps = 50 if steps is None else steps
    check_at_least("num-seeds", num_seeds, 1)
    check_writable(out)
    lists = {name: load_conditions(resolve_split(name, root)) for name in split or ["test", "new_test"]}
    files = _classifier_files()
    classifiers = _open_classifiers(files)
    sampler = open_sampler(checkpoint, scheduler or "ddim", steps, guidance_scale)
    if sampler.labels != OBJECTS:
        raise UserError(
            f"{sampler.checkpoint} was trained on other labels than the {len(OBJECTS)} i-CLEVR objects: "
            "scripts/evaluate_distribution.py scores it"
        )
    _report_seen_conditions(lists, root)
    results: dict[str, dict[str, Scores]] = {}
    for name, conditions in lists.items():
        class_labels = encode(conditions)
        seeds = [seed for run in range(num_seeds) for seed in picture_seeds(run, len(conditions))]
        pictures = generate(
            sampler.pipeline,
            class_labels.repeat(num_seeds, 1),
            seeds,
            steps,
            sampler.guidance_scale,
            progress=f"sampling {name}",
        )
        results[name] = _score(
            pictures.reshape(num_seeds, len(conditions), *pictures.shape[1:]), class_labels, classifiers
        )
    if PartialState().is_main_process:
        settings = {**sampler.settings(), "seeds": list(range(num_seeds)), "classifiers": files}
        _write_scores(out, settings, results)
    return 0


def _evaluate_pictures(images: Path, split: str, out: Path, root: Path) -> int:
    """Score the numbered pictures of a folder against a condition list."""
    check_writable(out)
    conditions = load_conditions(resolve_split(split, root))
    _check_manifest(images / "manifest.json", conditions, split)
    files = _classifier_files()
    classifiers = _open_classifiers(files)
    pictures = read_numbered_pictures(images, len(conditions), PICTURE_SIZE)
    results = {split: _score(pictures[None], encode(conditions), classifiers)}
    settings = {"checkpoint": None, "images": str(images), "seeds": [], "classifiers": files}
    _write_scores(out, settings, results)
    return 0


def _check_manifest(path: Path, conditions: Sequence[Condition], split: str) -> None:
    """Where `generate` made the pictures, its manifest knows for which conditions."""
    try:
        made = [tuple(picture["condition"]) for picture in cast(Any, read_json(path))["pictures"]]
    except (DataError, KeyError, TypeError):  # there is none, or one of another program
        return
    if made != list(conditions):
        raise UserError(f"{path} says that its pictures were made for other conditions than those of {split!r}")


def _open_classifiers(files: dict[str, dict[str, str]]) -> dict[str, torch.nn.Module]:
    """Those of `_classifier_files`."""
    if PartialState().is_main_process:
        print("classifiers: " + ", ".join(f"{name} = {entry['file']}" for name, entry in files.items()))
    return {name: load_classifier(entry["file"]).to(PartialState().device) for name, entry in files.items()}


def _classifier_files() -> dict[str, dict[str, str]]:
    """Which files scored: the official checkpoint stands in for our resnet18 where it is in place."""
    files = {name: classifier_file(name) for name in CLASSIFIERS}
    return {
        name: {"file": str(file), "sha256": hashlib.sha256(file.read_bytes()).hexdigest()}
        for name, file in files.items()
    }


def _score(
    pictures: NDArray[np.uint8], class_labels: torch.Tensor, classifiers: dict[str, torch.nn.Module]
) -> dict[str, Scores]:
    """Scores of (S, N, H, W, 3) pictures of S seeds by each classifier."""
    seeds, count = pictures.shape[:2]
    resized = resize_pictures(pictures.reshape(-1, *pictures.shape[2:]), PICTURE_SIZE)
    scores = {}
    for name, classifier in classifiers.items():
        probabilities = predict(classifier, resized)
        hits = top_k_hits(probabilities.reshape(seeds, count, -1), class_labels)
        scores[name] = summarise(hits, class_labels)
    return scores


def _report_seen_conditions(lists: dict[str, list[Condition]], root: Path) -> None:
    """`unseen` promises combinations without a training picture; say so where the data at hand breaks it."""
    if "unseen" in lists and (root / "train.json").is_file() and PartialState().is_main_process:
        seen = count_seen(lists["unseen"], load_labels(root / "train.json"))
        if seen:
            print(f"note: {seen} of the {len(lists['unseen'])} unseen conditions occur in {root / 'train.json'}")


def _write_scores(out: Path, settings: dict[str, object], results: dict[str, dict[str, Scores]]) -> None:
    write_json(out / "metrics.json", {**settings, "splits": results})
    print(f"{'split':<12} {'classifier':<10} {'micro':<24} exact match")
    for split, by_classifier in results.items():
        for name, scores in by_classifier.items():
            print(f"{split:<12} {name:<10} {_interval(scores['micro']):<24} {_interval(scores['exact_match'])}")
    print(f"wrote {out / 'metrics.json'} (mean [95 % interval over seeds and conditions])")


def _interval(score: Score) -> str:
    low, high = score["ci95"]
    return f"{score['mean']:.4f} [{low:.4f}, {high:.4f}]"
