"""Check the official i-CLEVR files, as courses hand them out, and copy them to where the commands look for them.

    images -> out/images/      JSON lists -> out/      checkpoint.pth -> evaluator_dir/

Everything is copied into a hidden folder inside `out` and checked there. Then it is renamed into place, `train.json`
last. So an error changes nothing, and to complete a killed import one runs it again. The files may come in parts: each
import adds to the data set, and never mixes it with another one.
"""

from __future__ import annotations

import io
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from PIL import Image, UnidentifiedImageError
from tqdm.auto import tqdm

from lab_ddpm.data.conditions import Condition, count_seen, load_conditions, load_labels, load_objects
from lab_ddpm.data.iclevr import OBJECTS, OFFICIAL_CHECKPOINT
from lab_ddpm.data.images import naming_broken_images
from lab_ddpm.data.labelled_images import compare_names, image_places
from lab_ddpm.evaluation.classifiers import load_classifier
from lab_ddpm.iclevr.condition_lists import make_condition_lists
from lab_ddpm.iclevr.official.official_files import (
    IMAGE_NAME,
    OTHER_NAMES,
    SourceFile,
    open_official_files,
    unopened_zips,
)
from lab_ddpm.tools.errors import DataError, listed, some
from lab_ddpm.tools.files import TEMPORARY_PREFIX, atomic_path, existing_folder, remove


@dataclass(frozen=True)
class ImportReport:
    """What an import did.

    Attributes:
        num_added: Images that this import added to `out/images`.
        files: "added", "replaced" or "unchanged" for the path of each list and of the checkpoint.
        seen: How many conditions of the list `unseen` some training image shows; None if that is not known.
        missing: What training on the official data still needs.
        text: A summary to print.
    """

    num_added: int
    files: dict[Path, str]
    seen: int | None
    missing: list[str]
    text: str


def import_data(source: Path, out: Path, evaluator_dir: Path) -> ImportReport:
    """Check official files and put them in place.

    Args:
        source: A folder or a zip file with any of the images, the four JSON lists and `checkpoint.pth`.
        out: Folder of the data set.
        evaluator_dir: Folder of the classifiers.

    Raises:
        DataError: Files are broken, missing or not listed (all are named), or `out` holds other data. Nothing has been
            changed then.
        OSError: The disk is full or a folder cannot be written.
    """
    images, lines = out / "images", []
    with open_official_files(source) as found, _staging_folder(out) as staging:
        new_images = [file for name, file in found.items() if IMAGE_NAME.fullmatch(name)]
        others = [found[name] for name in OTHER_NAMES if name in found]
        if (out / "replica.json").exists() and (new_images or "train.json" in found):
            raise DataError(
                f"{out}: holds a rendered replica (replica.json), which cannot be combined with official images; "
                "choose another `--out`, or move images/, masks/, train.json and replica.json away"
            )
        _check_space(found.values(), out)
        loaded, problems = _stage_others(others, staging)
        labels: dict[str, Condition] | None = loaded.get("train.json")
        if new_images and "train.json" not in found and (out / "train.json").is_file():
            labels = load_labels(out / "train.json", OBJECTS)
        if labels is not None:
            places = image_places(images) if images.is_dir() else {}
            places |= {file.name: file.place for file in new_images}
            problems += compare_names(labels, places) if places else []  # they may be imported later
        problems += _stage_images(new_images, images, staging / "images")
        goals = {name: (evaluator_dir if name == OFFICIAL_CHECKPOINT else out) / name for name in loaded}
        problems += [
            f"{goal}: exists with other content, which is never overwritten; move it away first"
            for name, goal in goals.items()
            if _is_kept(goal) and goal.read_bytes() != (staging / name).read_bytes()
        ]
        seen = None
        if labels is not None:
            file = out / "unseen.json"
            unseen = load_conditions(file, OBJECTS) if file.is_file() else make_condition_lists()["unseen"]
            seen = count_seen(unseen, labels)
            lines.append(f"{file}: {seen} of its {len(unseen)} conditions occur in train.json")
            if seen:
                lines.append("a model trained on these images has seen those conditions: do not report them as unseen")
        if problems:
            raise DataError(f"{source}: not imported, nothing was changed:\n{listed(problems)}")

        added = list((staging / "images").iterdir())
        os.sync()  # once: flushing thousands of files one by one takes minutes
        images.mkdir(exist_ok=True)
        for path in added:
            path.replace(images / path.name)
        files = {goal: _put(staging / name, goal) for name, goal in goals.items()}
    num_images = len(image_places(images))
    absent = [] if new_images else ["images (CLEVR_train_SSSSSS_K.png)"]
    absent += [name for name in OTHER_NAMES if name not in found]
    missing = [] if num_images else ["the images"]
    missing += [] if (out / "train.json").is_file() else ["train.json"]
    has_not = f"; it does not contain {', '.join(absent)}" if absent else ""
    state = f"training still needs {' and '.join(missing)}" if missing else "ready for training"
    lines = [
        f"checked {source}: no file is broken{has_not}",
        f"{images}: {len(added)} images added, {num_images} in all",
        *(f"{path}: {what}" for path, what in files.items()),
        *lines,
        *(f"{path}: zip files in a folder are not searched; import it separately" for path in unopened_zips(source)),
        f"{out}: {state}",
    ]
    return ImportReport(len(added), files, seen, missing, "\n".join(lines))


def _load_objects(path: Path) -> None:
    objects = load_objects(path)
    if objects != OBJECTS:
        raise DataError(f"{path}: must have the order {list(OBJECTS)}, got {list(objects)}")


def _load_labels(path: Path) -> dict[str, Condition]:
    labels = load_labels(path, OBJECTS)
    if others := [name for name in labels if not IMAGE_NAME.fullmatch(name)]:
        raise DataError(f"{path}: images must be named CLEVR_train_SSSSSS_K.png, got {some(others)}")
    return labels


_LOADERS: dict[str, Callable[[Path], object]] = {
    "objects.json": _load_objects,
    "test.json": partial(load_conditions, labels=OBJECTS),
    "new_test.json": partial(load_conditions, labels=OBJECTS),
    "train.json": _load_labels,
    OFFICIAL_CHECKPOINT: partial(load_classifier, labels=OBJECTS),
}


def _check_space(files: Iterable[SourceFile], out: Path) -> None:
    needed = sum(file.size for file in files if not (out / "images" / file.name).exists())
    free = shutil.disk_usage(existing_folder(out)).free
    if needed > free:
        raise DataError(f"{out}: the disk must have {needed / 1e9:.2f} GB free, has {free / 1e9:.2f} GB")


@contextmanager
def _staging_folder(out: Path) -> Iterator[Path]:
    """A new hidden folder in `out`, from which files can be renamed into place. Removes those of killed imports."""
    is_new = not out.exists()
    staging = out / f"{TEMPORARY_PREFIX}import"
    remove(staging)
    (staging / "images").mkdir(parents=True)
    try:
        yield staging
    finally:
        remove(staging)
        if is_new and not any(out.iterdir()):
            out.rmdir()


def _stage_others(files: Iterable[SourceFile], staging: Path) -> tuple[dict[str, Any], list[str]]:
    """Copy and load the lists and the checkpoint; returns their contents by name, and the problems."""
    loaded, problems = {}, []
    for file in files:
        path = staging / file.name
        try:
            path.write_bytes(file.read())
            loaded[file.name] = _LOADERS[file.name](path)
        except DataError as error:
            problems.append(str(error).replace(str(path), file.place))
    return loaded, problems


def _stage_images(files: Sequence[SourceFile], folder: Path, staged: Path) -> list[str]:
    """Decode every image, and copy those that `folder` lacks to `staged`; returns the problems."""
    others: list[str] = []

    def stage(file: SourceFile) -> str | None:
        try:
            with naming_broken_images(file.place):
                content = file.read()
                try:
                    with Image.open(io.BytesIO(content), formats=["PNG"]) as image:
                        image.load()
                except UnidentifiedImageError:
                    raise DataError(f"{file.place}: broken image (not a PNG file)") from None
        except DataError as error:
            return str(error)
        if not (folder / file.name).exists():
            (staged / file.name).write_bytes(content)
        elif (folder / file.name).read_bytes() != content:
            others.append(file.name)
        return None

    with ThreadPoolExecutor() as pool:
        results = pool.map(stage, files)
        progress = tqdm(results, total=len(files), desc="checking images", leave=False, delay=2)
        problems = [problem for problem in progress if problem]
    if others:
        problems.append(
            f"{folder}: holds {len(others)} other images with these names ({min(others)}, ...), which are "
            "never overwritten; choose another `--out`, or move the folder away"
        )
    return problems


def _is_kept(place: Path) -> bool:
    """Whether a file must not be replaced: a checkpoint, or the labels of images that are there."""
    if place.name == "train.json":
        return place.exists() and any((place.parent / "images").glob("[!.]*"))
    return place.name == OFFICIAL_CHECKPOINT and place.exists()


def _put(staged: Path, place: Path) -> str:
    """Copy a file to its place, completely or not at all. The place may be on another disk. Returns what was done."""
    content = staged.read_bytes()
    before = place.read_bytes() if place.exists() else None
    if before == content:
        return "unchanged"
    with atomic_path(place) as temporary:
        temporary.write_bytes(content)
    return "added" if before is None else "replaced"
