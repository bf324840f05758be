"""`train`, `render`, `train-evaluator`: from plain arguments to files, and a last line that says what was written."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from accelerate import PartialState

from lab_ddpm.classifiers import CLASSIFIERS, PICTURE_SIZE, SELECTING_CLASSIFIER, classifier_file
from lab_ddpm.condition_lists import write_condition_lists
from lab_ddpm.conditions import load_conditions, resolve_split
from lab_ddpm.config import TrainConfig
from lab_ddpm.dataset import DATASETS, IMAGE_SIZES, open_dataset, open_held_out, short_name
from lab_ddpm.errors import UserError, check_at_least, check_choice
from lab_ddpm.evaluator_training import train_evaluators, train_picture_classifier
from lab_ddpm.interruption import Interrupted
from lab_ddpm.labelled_pictures import has_pictures
from lab_ddpm.replica import render_replica
from lab_ddpm.training import train


def train_command(config: TrainConfig) -> int:
    """Train, rendering the replica first where i-CLEVR has no pictures; returns the exit code."""
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
    if config.evaluation.metric != "none":
        classifier_file(SELECTING_CLASSIFIER)
    render_command(root, config.data.num_scenes, seed=0, workers=None)


def render_command(out: Path, num_scenes: int, seed: int, workers: int | None, with_unseen: bool = False) -> int:
    """Render `num_scenes` scenes of the replica into `out`, with the condition lists beside them."""
    write_condition_lists(out)
    forbidden = [] if with_unseen else load_conditions(resolve_split("unseen", out))
    summary = render_replica(out, num_scenes, seed, workers or os.cpu_count() or 1, forbidden)
    print(f"wrote {summary.num_pictures} pictures ({summary.num_rendered} of them now) and train.json to {out}/")
    return 0


def train_evaluator_command(
    dataset: str,
    root: Sequence[Path],
    held_out: Path | None,
    out: Path,
    names: Sequence[str] | None,
    image_size: int | None,
    epochs: int | None,
    seed: int,
) -> int:
    """Train the two classifiers of i-CLEVR, or one for another labelled data set, named after it."""
    check_choice("dataset", dataset, DATASETS)
    if dataset == "iclevr":
        if image_size is not None:
            raise UserError(
                f"`--image-size` is for other data sets: the classifiers of i-CLEVR read {PICTURE_SIZE} pixels"
            )
        paths = train_evaluators(root, held_out, out, names or CLASSIFIERS, epochs, seed)
    else:
        if names is not None:
            raise UserError(f"`--names` is for i-CLEVR: the data set {dataset!r} has one classifier")
        if len(root) != 1:
            raise UserError(f"`root` must be one folder for the data set {dataset!r}, got {len(root)}")
        (folder,) = root
        size = IMAGE_SIZES[dataset] if image_size is None else image_size
        check_at_least("image-size", size, 1)
        held_out_pictures = open_held_out(dataset, folder, held_out, size)
        training = open_dataset(dataset, folder, size)
        name = short_name(dataset, folder)
        paths = [train_picture_classifier(training, held_out_pictures, name, out, epochs, seed)]
    print("wrote " + ", ".join(f"{path} and {path.with_suffix('.json').name}" for path in paths))
    return 0
