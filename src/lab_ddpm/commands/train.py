"""`train`: a config trained to its end, with the replica rendered first where i-CLEVR has no pictures."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from accelerate import PartialState

from lab_ddpm.classifiers.networks import SELECTING_CLASSIFIER, classifier_file
from lab_ddpm.commands import render
from lab_ddpm.condition_lists import write_condition_lists
from lab_ddpm.conditions import OBJECTS, resolve_split
from lab_ddpm.config import TrainConfig
from lab_ddpm.config_parser import parse_config
from lab_ddpm.data.labelled_pictures import has_pictures
from lab_ddpm.errors import UserError, check_choice
from lab_ddpm.replica.replica import num_replica_scenes
from lab_ddpm.training.accelerator import check_device, cpu_preset
from lab_ddpm.training.loop import train


def run(arguments: Sequence[str]) -> int:
    """Train the config of a command line; returns the exit code."""
    config = parse_config(arguments)
    _provide_pictures(config)
    folder = train(config)
    if PartialState().is_main_process:
        print(f"wrote the run {folder}: its best pipeline is {folder / 'best'}, its curve {folder / 'metrics.jsonl'}")
    return 0


def _provide_pictures(config: TrainConfig) -> None:
    root = Path(config.data.root)
    if config.data.dataset != "iclevr":
        return
    if has_pictures(root):
        scenes = num_replica_scenes(root)
        if scenes not in (None, config.data.num_scenes) and os.environ.get("RANK", "0") == "0":
            print(
                f"{root} has a replica of {scenes} scenes, and `data.num_scenes` is {config.data.num_scenes}: "
                f"training on those. `python scripts/render.py --num-scenes N --out {root}` adds scenes."
            )
        return
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise UserError(
            f"{root} has no pictures: run scripts/render.py or scripts/import_data.py before several processes"
        )
    # What training itself would say, but only when everything is rendered:
    write_condition_lists(root)
    check_device(config)
    check_choice("model.num_labels", config.model.num_labels, (0, len(OBJECTS)))
    if config.evaluation.metric != "none":
        classifier_file(SELECTING_CLASSIFIER)
        resolve_split(config.evaluation.split, root)
    if preset := cpu_preset(config):
        print(f"This config is made for a GPU, and this machine has none: {preset} is made for that. Going on.")
    print(
        f"{root} has no pictures. If you have the official ones, stop and run `python scripts/import_data.py PATH`. "
        f"Rendering the replica of {config.data.num_scenes} scenes first; it goes on where it was if you stop it."
    )
    render.run(root, config.data.num_scenes, seed=0, workers=None)
