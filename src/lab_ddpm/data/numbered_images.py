"""A folder of images to score: one for each condition of a list, matched by the number in the file name."""

from __future__ import annotations

import re
from collections import defaultdict
from pathlib import Path

import numpy as np

from lab_ddpm.data.images import Images, read_image
from lab_ddpm.tools.errors import DataError


def read_numbered_images(folder: str | Path, count: int, size: int) -> Images:
    """The PNG files of the conditions 0 ... count - 1, in this order, resized directly.

    The number of an image is the last group of digits in its name: `7.png`, `07.png`, `seed3_07.png` and `7_sample.png`
    belong to condition 7. Files without digits (`grid.png`), hidden files and folders are ignored.

    Returns:
        (count, size, size, 3) uint8.

    Raises:
        DataError: The folder is missing, or it does not have one image per condition; the message names every file
            and number that is wrong. Or an image is broken.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder of images")
    numbered: dict[int, list[Path]] = defaultdict(list)
    for path in sorted(folder.iterdir()):
        digits = re.findall(r"[0-9]+", path.stem)
        if path.suffix.lower() == ".png" and path.is_file() and digits and not path.name.startswith("."):
            numbered[int(digits[-1])].append(path)
    problems = [f"no image {number}" for number in range(count) if number not in numbered]
    problems += [f"{path.name} has no condition" for number in numbered if number >= count for path in numbered[number]]
    for paths in numbered.values():
        if len(paths) > 1:
            problems.append(f"the same number: {', '.join(path.name for path in paths)}")
    if problems:
        rule = f"{folder}: must hold one PNG per condition, numbered 0 ... {count - 1} in their names"
        raise DataError(f"{rule}; {'; '.join(problems)}")
    return np.stack([read_image(numbered[number][0], size) for number in range(count)])
