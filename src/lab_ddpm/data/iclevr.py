"""The vocabulary and the condition lists of i-CLEVR.

The object "COLOUR SHAPE" has the index `8 * shape + colour`, as in the official `objects.json`.
"""

from __future__ import annotations

from pathlib import Path

from lab_ddpm.tools.errors import DataError, UserError, did_you_mean
from lab_ddpm.tools.shipped import find_shipped

SHAPES = ("cube", "sphere", "cylinder")
COLOURS = ("gray", "red", "blue", "green", "brown", "purple", "cyan", "yellow")
OBJECTS = tuple(f"{colour} {shape}" for shape in SHAPES for colour in COLOURS)
MOST_OBJECTS = 3  # in an image
NUM_SCENES = 6003  # to render, unless another number is given

ROOT = Path("data/iclevr")
OFFICIAL_CHECKPOINT = "checkpoint.pth"  # of the classifier that courses hand out
SPLITS = ("test", "new_test", "val", "new_val", "unseen", "many")


def resolve_split(split: str, root: str | Path = ROOT) -> Path:
    """The file of a split: `root/SPLIT.json` for a name in `SPLITS`, or the path of any other JSON file.

    Raises:
        UserError: Neither a known name nor a `.json` path.
        DataError: The file does not exist.
    """
    if split not in SPLITS and not split.endswith(".json"):
        hint = did_you_mean(split, SPLITS)
        raise UserError(f"{hint}`split` must be one of {list(SPLITS)} or the path of a .json file, got {split!r}")
    path = find_shipped(split if split.endswith(".json") else Path(root) / f"{split}.json")
    if not path.is_file():
        raise DataError(f"{path}: no such condition list")
    return path
