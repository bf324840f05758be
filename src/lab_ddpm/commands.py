"""What each command does: from plain arguments to files, and a last line that says what was written where."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import diffusers
import numpy as np
import torch
from accelerate import PartialState
from numpy.typing import NDArray

from lab_ddpm.checkpoint import checkpoint_hash, default_checkpoint, load_pipeline
from lab_ddpm.classifiers import CLASSIFIERS, PICTURE_SIZE, classifier_file, load_classifier, predict
from lab_ddpm.condition_lists import write_condition_lists
from lab_ddpm.conditions import (
    OBJECTS,
    Condition,
    check_condition,
    count_seen,
    encode,
    load_conditions,
    load_labels,
    read_json,
    resolve_split,
)
from lab_ddpm.config import TrainConfig
from lab_ddpm.errors import UserError, check_at_least, check_positive
from lab_ddpm.evaluation import Score, Scores, summarise, top_k_hits
from lab_ddpm.files import check_writable, remove, write_json
from lab_ddpm.generation import generate, picture_seeds
from lab_ddpm.images import make_grid, write_png
from lab_ddpm.labelled_pictures import has_pictures
from lab_ddpm.numbered_pictures import read_numbered_pictures
from lab_ddpm.pipeline import LabelConditionalPipeline
from lab_ddpm.schedulers import make_scheduler

_GRID_COLUMNS = 8

diffusers.utils.logging.set_verbosity_error()  # it warns where `load_pipeline` raises


def train_command(config: TrainConfig) -> int:
    """Train, rendering the replica first where there are no pictures; returns the exit code."""
    from lab_ddpm.training import Interrupted, train

    _provide_pictures(config)
    try:
        run = train(config)
    except Interrupted as stop:
        if PartialState().is_main_process:
            print(f"{stop}; the same command goes on from there")
        return 128 + stop.signal_number
    if PartialState().is_main_process:
        print(f"wrote the run {run}: its best pipeline is {run / 'best'}, its curve {run / 'metrics.jsonl'}")
    return 0


def _provide_pictures(config: TrainConfig) -> None:
    root = Path(config.data.root)
    if config.data.dataset != "iclevr" or has_pictures(root):
        return
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise UserError(
            f"{root} has no pictures: run scripts/render.py or scripts/import_data.py before several processes"
        )
    print(
        f"{root} has no pictures. If you have the official ones, stop and run `python scripts/import_data.py PATH`. "
        f"Rendering the replica of {config.data.num_scenes} scenes first; it goes on where it was if you stop it."
    )
    classifier_file(config.evaluation.classifier)
    render_command(root, config.data.num_scenes, seed=0, workers=None)


def render_command(out: Path, num_scenes: int, seed: int, workers: int | None, with_unseen: bool = False) -> int:
    """Render `num_scenes` scenes of the replica into `out`, with the condition lists beside them."""
    from lab_ddpm.replica import render_replica

    write_condition_lists(out)
    forbidden = [] if with_unseen else load_conditions(resolve_split("unseen", out))
    summary = render_replica(out, num_scenes, seed, workers or os.cpu_count() or 1, forbidden)
    print(f"wrote {summary.num_pictures} pictures ({summary.num_rendered} of them now) and train.json to {out}/")
    return 0


def generate_command(
    split: str,
    objects: Sequence[str] | None,
    checkpoint: Path | None,
    scheduler: str,
    steps: int,
    guidance_scale: float | None,
    seed: int,
    out: Path | None,
    progress: bool,
    root: Path,
) -> int:
    """Sample one picture per condition of `split`, or one of `objects`, and write pictures, grid and manifest."""
    from lab_ddpm.figures import DenoisingRecorder

    check_at_least("seed", seed, 0)
    if objects is not None:
        check_condition(objects)
        split, conditions = "objects", [tuple(objects)]
    else:
        conditions = load_conditions(resolve_split(split, root))
    out = out or Path("generated") / Path(split).stem
    check_writable(out)
    checkpoint, pipeline = _open_pipeline(checkpoint, scheduler, steps, guidance_scale)
    seeds = picture_seeds(seed, len(conditions))
    recorder = DenoisingRecorder() if progress else None
    pictures = generate(
        pipeline, encode(conditions), seeds, steps, guidance_scale, progress="sampling", callback=recorder
    )
    if not PartialState().is_main_process:
        return 0
    _remove_previous(out)
    names = [f"{index:02d}.png" for index in range(len(conditions))]
    for name, picture in zip(names, pictures, strict=True):
        write_png(out / name, picture)
    write_png(out / "grid.png", make_grid(pictures, min(_GRID_COLUMNS, len(pictures))))
    common = {
        "scheduler": scheduler,
        "steps": steps,
        "guidance_scale": _guidance(pipeline, guidance_scale),
        "checkpoint": str(checkpoint),
        "checkpoint_hash": checkpoint_hash(checkpoint),
    }
    write_json(
        out / "manifest.json",
        {
            "split": split,
            "pictures": [
                {"file": name, "condition": list(condition), "seed": picture_seed, **common}
                for name, condition, picture_seed in zip(names, conditions, seeds, strict=True)
            ],
        },
    )
    written = f"{len(pictures)} pictures, grid.png and manifest.json"
    if recorder is not None:
        recorder.write(out, conditions)
        written += ", strip.png and denoising.gif"
    print(f"wrote {written} to {out}/")
    return 0


def evaluate_command(
    splits: Sequence[str],
    checkpoint: Path | None,
    scheduler: str,
    steps: int,
    guidance_scale: float | None,
    num_seeds: int,
    out: Path,
    root: Path,
) -> int:
    """Sample each split with the seeds 0 ... num_seeds - 1, score the pictures, print a table, write metrics.json."""
    check_at_least("num-seeds", num_seeds, 1)
    check_writable(out)
    lists = {split: load_conditions(resolve_split(split, root)) for split in splits}
    classifiers = _open_classifiers()
    checkpoint, pipeline = _open_pipeline(checkpoint, scheduler, steps, guidance_scale)
    _report_seen_conditions(lists, root)
    results: dict[str, dict[str, Scores]] = {}
    for split, conditions in lists.items():
        class_labels = encode(conditions)
        seeds = [seed for run in range(num_seeds) for seed in picture_seeds(run, len(conditions))]
        pictures = generate(
            pipeline,
            class_labels.repeat(num_seeds, 1),
            seeds,
            steps,
            guidance_scale,
            progress=f"sampling {split}",
        )
        results[split] = _score(
            pictures.reshape(num_seeds, len(conditions), *pictures.shape[1:]), class_labels, classifiers
        )
    if PartialState().is_main_process:
        settings = {
            "checkpoint": str(checkpoint),
            "checkpoint_hash": checkpoint_hash(checkpoint),
            "seeds": list(range(num_seeds)),
            "scheduler": scheduler,
            "steps": steps,
            "guidance_scale": _guidance(pipeline, guidance_scale),
        }
        _write_scores(out, settings, results)
    return 0


def score_folder_command(images: Path, split: str, out: Path, root: Path) -> int:
    """Score the numbered pictures of a folder against a condition list."""
    check_writable(out)
    conditions = load_conditions(resolve_split(split, root))
    classifiers = _open_classifiers()
    pictures = read_numbered_pictures(images, len(conditions), PICTURE_SIZE)
    results = {split: _score(pictures[None], encode(conditions), classifiers)}
    _write_scores(out, {"checkpoint": None, "images": str(images), "seeds": []}, results)
    return 0


def _open_pipeline(
    checkpoint: Path | None, scheduler: str, steps: int, guidance_scale: float | None
) -> tuple[Path, LabelConditionalPipeline]:
    """Load the checkpoint, the default one if None, say which, and put the sampler in."""
    if guidance_scale is not None:
        check_positive("guidance-scale", guidance_scale)
    checkpoint = checkpoint or default_checkpoint()
    pipeline = load_pipeline(checkpoint)
    if tuple(pipeline.unet.config["labels"]) != OBJECTS:
        raise UserError(f"{checkpoint} was trained on other labels than the {len(OBJECTS)} i-CLEVR objects")
    pipeline.scheduler = make_scheduler(scheduler, pipeline.scheduler, steps)
    pipeline.to(PartialState().device)
    if PartialState().is_main_process:
        print(f"checkpoint: {checkpoint}")
    return checkpoint, pipeline


def _guidance(pipeline: LabelConditionalPipeline, guidance_scale: float | None) -> float:
    return pipeline.config["guidance_scale"] if guidance_scale is None else guidance_scale


def _open_classifiers() -> dict[str, torch.nn.Module]:
    files = {name: classifier_file(name) for name in CLASSIFIERS}
    if PartialState().is_main_process:
        print("classifiers: " + ", ".join(f"{name} = {file}" for name, file in files.items()))
    return {name: load_classifier(file) for name, file in files.items()}


def _score(
    pictures: NDArray[np.uint8], class_labels: torch.Tensor, classifiers: dict[str, torch.nn.Module]
) -> dict[str, Scores]:
    """Scores of (S, N, H, W, 3) pictures of S seeds by each classifier."""
    seeds, count = pictures.shape[:2]
    scores = {}
    for name, classifier in classifiers.items():
        probabilities = predict(
            classifier, pictures.reshape(-1, *pictures.shape[2:]), device=str(PartialState().device)
        )
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


def _remove_previous(out: Path) -> None:
    """Remove the pictures of an earlier run in this folder, which a shorter list would leave behind."""
    manifest = read_json(out / "manifest.json") if (out / "manifest.json").is_file() else {}
    for picture in manifest.get("pictures", []) if isinstance(manifest, dict) else []:
        remove(out / Path(picture["file"]).name)
