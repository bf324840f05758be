"""Measure whether the placer copies: how far its places are from those of the nearest training image.

    python benchmarks/places.py --root data/iclevr --held-out data/held_out --checkpoint pretrained/iclevr-cpu

The distance of two layouts of n objects is the root mean square distance of their objects in pixels, whatever the
objects are, for the best assignment of one to the other. The first object of i-CLEVR always stands in the middle, so
layouts of one object are left out.
"""

from __future__ import annotations

import argparse
import sys
from itertools import permutations
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from common import markdown_table
from lab_ddpm.arguments import add_checkpoint
from lab_ddpm.cli import run
from lab_ddpm.data.iclevr import OBJECTS
from lab_ddpm.data.image_dataset import ImageDataset
from lab_ddpm.data.labelled_images import open_labelled_images
from lab_ddpm.diffusion.places import Places, places_in
from lab_ddpm.diffusion.sample_space import SampleSpace
from lab_ddpm.diffusion.sampling import image_seeds
from lab_ddpm.evaluation.comparison import check_data
from lab_ddpm.generation.checkpoint import open_pipeline
from lab_ddpm.tools.errors import UserError
from lab_ddpm.tools.files import write_json

_COUNTS = (2, 3)  # objects
_QUANTILES = (0.01, 0.1, 0.5)


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, required=True, help="the training images, with masks")
    parser.add_argument("--held-out", type=Path, required=True, help="other images, with masks")
    add_checkpoint(parser)
    parser.add_argument("--out", type=Path, default=Path("places"), help="default: places")
    options = parser.parse_args(arguments)
    pipeline = open_pipeline(options.checkpoint)
    space, fit = pipeline.denoiser.space, pipeline.config["fit"]
    training, held_out = (
        open_labelled_images(root, space.sample_size, OBJECTS, fit, with_masks=True)
        for root in (options.root, options.held_out)
    )
    check_data(pipeline, training)
    if pipeline.denoiser.placer is None:
        raise UserError("the model must have a placer")
    drawn = pipeline.denoiser.placer.draw(held_out.class_labels, image_seeds(0, len(held_out)))
    rows, known = [], places_of(training, space)
    for count in _COUNTS:
        of_training = with_count(known, count)
        for name, places in (("placer", drawn), ("held-out images", places_of(held_out, space))):
            distances = nearest(with_count(places, count), of_training)
            rows.append([name, count, len(distances), *(float(np.quantile(distances, at)) for at in _QUANTILES)])
    titles = ["layouts of", "objects", "layouts", *(f"pixels, nearest {100 * at:g} %" for at in _QUANTILES)]
    write_json(options.out / "table.json", [dict(zip(titles, row, strict=True)) for row in rows])
    print(markdown_table(titles, ([*row[:3], *(f"{value:.2f}" for value in row[3:])] for row in rows)))


def places_of(dataset: ImageDataset, space: SampleSpace) -> Places:
    """The places in all images of a data set with masks."""
    assert dataset.masks is not None
    masks = torch.from_numpy(dataset.masks.copy()).movedim(-1, 1)
    return places_in(masks, space)


def with_count(places: Places, count: int) -> NDArray[np.float32]:
    """(N, count, 2): the places in the images that show so many objects."""
    shown = places.labels > 0
    chosen = shown.sum(dim=1) == count
    return places.centers[chosen][shown[chosen]].reshape(-1, count, 2).numpy()


def nearest(layouts: NDArray[np.float32], known: NDArray[np.float32]) -> NDArray[np.float32]:
    """The distance of each layout from the nearest known one."""
    orders = [known[:, list(order)] for order in permutations(range(known.shape[1]))]
    return np.array(
        [min(np.sqrt(((order - layout) ** 2).sum(axis=2).mean(axis=1)).min() for order in orders) for layout in layouts]
    )


if __name__ == "__main__":
    sys.exit(run(main))
