"""Render the images of i-CLEVR if a run finds none, and find their masks if a model needs them."""

from __future__ import annotations

import os
from pathlib import Path

from lab_ddpm.data.conditions import load_conditions
from lab_ddpm.data.iclevr import MOST_OBJECTS, OBJECTS, SPLITS, resolve_split
from lab_ddpm.data.labelled_images import has_images
from lab_ddpm.evaluation.classifiers import SELECTING_CLASSIFIER, classifier_file
from lab_ddpm.iclevr.condition_lists import write_condition_lists
from lab_ddpm.iclevr.official.masks import write_masks
from lab_ddpm.iclevr.replica.replica import read_identity, render_replica
from lab_ddpm.tools.errors import UserError
from lab_ddpm.training.config import TrainConfig
from lab_ddpm.training.initial_weights import load_source


def provide_images(config: TrainConfig) -> None:
    """Render the replica if `config` is for i-CLEVR and its folder has no images; find the masks that it needs.

    Raises:
        UserError, DataError: The training would fail later. Nothing is rendered then.
    """
    root = Path(config.data.root)
    if config.data.dataset != "iclevr":
        return
    if not has_images(root):
        _render(config, root)
        return
    if config.model["layout_scale"]:
        _provide_masks(root)


def _render(config: TrainConfig, root: Path) -> None:
    _refuse_several_processes(f"{root} has no images: run scripts/render.py or scripts/import_data.py")
    if config.init_from is not None:
        load_source(config.init_from, {**config.model, "in_channels": 3})
    if config.evaluation.split not in SPLITS:
        resolve_split(config.evaluation.split, root)  # before the first file is written
    write_condition_lists(root)
    if config.data.conditional and config.evaluation.metric != "none":
        classifier_file(SELECTING_CLASSIFIER)
        load_conditions(resolve_split(config.evaluation.split, root), OBJECTS)
    print(
        f"{root} has no images. To use the official ones, stop and run "
        f"`python scripts/import_data.py PATH --out {root}`. "
        f"Rendering the replica of {config.data.num_scenes} scenes. You can stop it; it continues at the next start."
    )
    unseen = load_conditions(resolve_split("unseen", root), OBJECTS)
    num_rendered = render_replica(root, config.data.num_scenes, 0, os.cpu_count() or 1, unseen)
    num_images = MOST_OBJECTS * config.data.num_scenes
    print(f"wrote {num_images} images ({num_rendered} of them now) and train.json to {root}/")


def _provide_masks(root: Path) -> None:
    """Make the missing masks of `root`."""
    names = {path.name for path in (root / "images").glob("*.png")}
    if (root / "masks").is_dir() and names <= {path.name for path in (root / "masks").iterdir()}:
        return
    _refuse_several_processes(f"{root} lacks masks: let a single process find them")
    if read_identity(root) is not None:
        raise UserError(f"{root} lacks masks: run `python scripts/render.py` again with the same arguments as before")
    print(f"{root} lacks masks, which say where each object is: finding them from the differences between its images")
    print(f"wrote {write_masks(root)} masks to {root / 'masks'}/")


def _refuse_several_processes(message: str) -> None:
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise UserError(f"{message} before you start several processes")
