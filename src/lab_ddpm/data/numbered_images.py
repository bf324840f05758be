"""A folder of images to score: one for each condition of a list, matched by the number in the file name."""

from __future__ import annotations

import re
from collections import defaultdict
from pathlib import Path

import numpy as np

from lab_ddpm.data.images import Images, read_image
from lab_ddpm.tools.errors import DataError, listed


def find_numbered_images(folder: str | Path, count: int) -> list[Path]:
    """The PNG files of the conditions 0 ... count - 1, in this order.

    The number of an image is the last group of digits in its name: `7.png`, `07.png`, `seed3_07.png` and `7_sample.png`
    belong to condition 7. Files without digits (`grid.png`), hidden files and folders are ignored.

    Raises:
        DataError: The folder is missing, or it does not have one image per condition; the message names every file
            and number that is wrong.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder of images")
    numbered: dict[int, list[Path]] = defaultdict(list)
    for path in sorted(folder.iterdir()):
        digits = re.findall(r"[0-9]+", path.stem)
        if path.suffix.lower() == ".png" and path.is_file() and digits and not path.name.startswith("."):
            numbered[int(digits[-1])].append(path)
    rule = f"{folder}: must hold one PNG per condition, numbered 0 ... {count - 1} in their names"
    if not numbered:
        raise DataError(f"{rule}; there is none")
    problems = []
    if missing := [str(number) for number in range(count) if number not in numbered]:
        problems.append(f"missing: {', '.join(missing)}")
    if outside := [path.name for number, paths in numbered.items() if number >= count for path in paths]:
        problems.append(f"without a condition: {', '.join(outside)}")
    if twice := [" = ".join(path.name for path in paths) for paths in numbered.values() if len(paths) > 1]:
        problems.append(f"the same number: {', '.join(twice)}")
    if problems:
        raise DataError(f"{rule}; {'; '.join(problems)}")
    return [numbered[number][0] for number in range(count)]


def read_numbered_images(folder: str | Path, count: int, size: int) -> Images:
    """The images of `find_numbered_images`, resized directly: (count, size, size, 3) uint8.

    Raises:
        DataError: As for `find_numbered_images`, or images are broken; the message names all of them.
    """
    images, problems = [], []
    for path in find_numbered_images(folder, count):
        try:
            images.append(read_image(path, size))
        except DataError as error:
            problems.append(str(error))
    if problems:
        raise DataError(listed(problems))
    return np.stack(images)
