"""`train --dry_run`: check the settings and the images, say what was found, and train nothing."""

from __future__ import annotations

from pathlib import Path

from lab_ddpm.data.batches import check_batch_size
from lab_ddpm.data.dataset import open_training_images
from lab_ddpm.data.labelled_images import has_images
from lab_ddpm.data.summary import summarize
from lab_ddpm.training.config import TrainConfig


def dry_run(config: TrainConfig) -> str:
    """What a training would start with. The settings are checked already; the folder of the run is not looked at.

    Raises:
        UserError, DataError: About the images, as for `loop.train`.
    """
    data = config.data
    if data.dataset == "iclevr" and not has_images(data.root):
        return f"{data.root} has no images: a replica of {data.num_scenes:,} scenes would be rendered"
    # a training finds the masks of i-CLEVR itself
    with_masks = config.model["layout_scale"] > 0 and (data.dataset != "iclevr" or (Path(data.root) / "masks").is_dir())
    with config.naming_settings():
        images = open_training_images(
            data.dataset, data.root, data.image_size, data.conditional, with_masks, **data.hub_options
        )
    check_batch_size(config.batch_size // config.gradient_accumulation_steps, len(images))
    steps = -(-len(images) // config.batch_size)
    plan = f"{config.epochs * steps:,} steps in {config.epochs} epochs; most models need a few thousand"
    return f"{summarize(images, data.root)}\ndry run, nothing was trained: {plan}"
