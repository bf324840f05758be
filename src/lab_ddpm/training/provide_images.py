"""Render the images of i-CLEVR if a run finds none, and find their masks if a model needs them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

from lab_ddpm.data.conditions import load_conditions
from lab_ddpm.data.iclevr import MOST_OBJECTS, OBJECTS, SPLITS, resolve_split
from lab_ddpm.data.labelled_images import has_images
from lab_ddpm.evaluation.classifiers import SELECTING_CLASSIFIER, classifier_file
from lab_ddpm.iclevr.condition_lists import write_condition_lists
from lab_ddpm.iclevr.official.masks import write_masks
from lab_ddpm.iclevr.replica.replica import read_identity, render_replica
from lab_ddpm.tools.errors import UserError
from lab_ddpm.tools.extras import require_extra
from lab_ddpm.tools.worker_pool import available_cores
from lab_ddpm.training.config import TrainConfig
from lab_ddpm.training.initial_weights import load_source


def provide_images(config: TrainConfig) -> None:
    """Make what `find_missing` finds.

    Raises:
        UserError, DataError: As for `find_missing`. Nothing is made then.
    """
    root = Path(config.data.root)
    missing = find_missing(config)
    if missing == "images":
        _render(config, root)
    elif missing == "masks":
        print(f"{root} lacks masks, which say where each object is: finding them from the differences of its images")
        print(f"wrote {write_masks(root)} masks to {root / 'masks'}/")


def find_missing(config: TrainConfig) -> Literal["images", "masks"] | None:
    """What a training on i-CLEVR has to make first: images if there are none, or masks if the model needs them.

    Raises:
        UserError, DataError: They cannot be made here, or the training would fail later.
    """
    root = Path(config.data.root)
    if config.data.dataset != "iclevr":
        return None
    if not has_images(root):
        _refuse_several_processes(f"{describe_lack(root)}: run scripts/render.py or scripts/import_data.py")
        require_extra("mitsuba")
        _check_rest(config, root)
        return "images"
    names, masks = ({path.name for path in (root / part).glob("*.png")} for part in ("images", "masks"))
    if not config.model["layout_scale"] or names <= masks:
        return None
    _refuse_several_processes(f"{root} lacks masks: let a single process find them")
    if read_identity(root) is not None:
        raise UserError(f"{root} lacks masks: run `python scripts/render.py` again with the same arguments as before")
    return "masks"


def describe_lack(root: str | Path) -> str:
    """One clause about an i-CLEVR folder whose images have to be rendered."""
    return f"{root} has {'no images' if read_identity(root) is None else 'an unfinished replica'}"


def _check_rest(config: TrainConfig, root: Path) -> None:
    """Check what a training needs besides images."""
    if config.init_from is not None:
        load_source(config.init_from, {**config.model, "in_channels": 3})
    if config.data.conditional and config.evaluation.metric != "none":
        classifier_file(SELECTING_CLASSIFIER)
        split = config.evaluation.split
        if split not in SPLITS or (root / f"{split}.json").exists():  # the others will be written
            load_conditions(resolve_split(split, root), OBJECTS)


def _render(config: TrainConfig, root: Path) -> None:
    official = f" To use the official ones, stop and run `python scripts/import_data.py PATH --out {root}`."
    print(
        f"{describe_lack(root)}.{official if read_identity(root) is None else ''} "
        f"Rendering the replica of {config.data.num_scenes} scenes. You can stop it; it continues at the next start."
    )
    write_condition_lists(root)
    unseen = load_conditions(resolve_split("unseen", root), OBJECTS)
    num_rendered = render_replica(root, config.data.num_scenes, 0, available_cores(), unseen)
    num_images = MOST_OBJECTS * config.data.num_scenes
    print(f"wrote {num_images} images ({num_rendered} of them now) and train.json to {root}/")


def _refuse_several_processes(message: str) -> None:
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise UserError(f"{message} before you start several processes")
