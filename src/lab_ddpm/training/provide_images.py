"""The images of i-CLEVR, rendered where a run finds none, and their masks, where a model needs them."""

from __future__ import annotations

import os
from dataclasses import asdict
from pathlib import Path

from lab_ddpm.data.batches import check_count_weights
from lab_ddpm.data.conditions import load_conditions
from lab_ddpm.data.iclevr import OBJECTS, resolve_split
from lab_ddpm.data.labelled_images import has_images
from lab_ddpm.evaluation.classifiers import SELECTING_CLASSIFIER, classifier_file
from lab_ddpm.iclevr.condition_lists import write_condition_lists
from lab_ddpm.iclevr.official.masks import write_masks
from lab_ddpm.iclevr.replica.replica import read_identity, render_replica
from lab_ddpm.tools.errors import UserError
from lab_ddpm.training.accelerator import check_machine, cpu_preset
from lab_ddpm.training.config import TrainConfig
from lab_ddpm.training.initial_weights import load_source


def provide_images(config: TrainConfig) -> None:
    """Render the replica where `config` is of i-CLEVR and its folder has no images, and see to their masks; say so.

    Raises:
        UserError, DataError: What is wrong with the config, before anything is rendered.
    """
    root = Path(config.data.root)
    if config.data.dataset != "iclevr":
        return
    if has_images(root):
        _check(config)
        replica = read_identity(root)
        scenes = replica["num_scenes"] if replica else config.data.num_scenes
        if scenes != config.data.num_scenes and os.environ.get("RANK", "0") == "0":
            print(
                f"{root} has a replica of {scenes} scenes, and `data.num_scenes` is {config.data.num_scenes}: "
                f"training on those. `python scripts/render.py --num-scenes N --out {root}` adds scenes."
            )
        if config.model.layout_scale:
            _provide_masks(root)
        return
    _refuse_several_processes(f"{root} has no images: run scripts/render.py or scripts/import_data.py")
    _check_before_rendering(config)
    write_condition_lists(root)
    _check(config)
    if preset := cpu_preset(config):
        print(f"This config is made for a GPU, and this machine has none: {preset} is made for that. Going on.")
    print(
        f"{root} has no images. If you have the official ones, stop and run `python scripts/import_data.py PATH`. "
        f"Rendering the replica of {config.data.num_scenes} scenes first; it goes on where it was if you stop it."
    )
    forbidden = load_conditions(resolve_split("unseen", root), OBJECTS)
    summary = render_replica(root, config.data.num_scenes, 0, os.cpu_count() or 1, forbidden)
    print(f"wrote {summary.num_images} images ({summary.num_rendered} of them now) and train.json to {root}/")


def _check(config: TrainConfig) -> None:
    """What training itself would say, but only when everything is rendered or read."""
    check_machine(config)
    if config.model.conditional and config.evaluation.metric != "none":
        classifier_file(SELECTING_CLASSIFIER)
        load_conditions(resolve_split(config.evaluation.split, config.data.root), OBJECTS)


def _check_before_rendering(config: TrainConfig) -> None:
    """What training itself would say of the images that are still to be rendered: three of a scene."""
    check_count_weights(config.data.count_weights, 1, 3)
    if config.batch_size > (number := 3 * config.data.num_scenes):
        raise UserError(
            f"`batch_size` must be at most {number}, the number of images of `data.num_scenes` scenes, "
            f"got {config.batch_size}"
        )
    if config.init_from is not None:
        settings = asdict(config.model) | asdict(config.diffusion) | {"in_channels": 3}
        load_source(config.init_from, settings)


def _provide_masks(root: Path) -> None:
    """Make those masks of `root` that are missing."""
    names = {path.name for path in (root / "images").glob("*.png")}
    if (root / "masks").is_dir() and names <= {path.name for path in (root / "masks").iterdir()}:
        return
    _refuse_several_processes(f"{root} lacks masks: run scripts/find_masks.py")
    if read_identity(root) is not None:
        raise UserError(f"{root} lacks masks: `python scripts/render.py` with the arguments it was made with adds them")
    print(f"{root} lacks masks of what stands where: looking for it in the differences of its images")
    print(f"wrote {write_masks(root)} masks to {root / 'masks'}/")


def _refuse_several_processes(message: str) -> None:
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise UserError(f"{message} before several processes")
