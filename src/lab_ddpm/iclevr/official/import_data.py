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
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from PIL import Image, UnidentifiedImageError
from tqdm.auto import tqdm

from lab_ddpm.data.conditions import Condition, count_seen, load_conditions, load_labels, load_objects
from lab_ddpm.data.iclevr import OBJECTS
from lab_ddpm.data.images import naming_broken_images
from lab_ddpm.data.labelled_images import compare_names, image_places
from lab_ddpm.evaluation.classifiers import OFFICIAL_CHECKPOINT, load_classifier
from lab_ddpm.iclevr.condition_lists import make_condition_lists
from lab_ddpm.iclevr.official.import_report import ImportReport
from lab_ddpm.iclevr.official.official_files import IMAGE_NAME, OfficialFiles, SourceFile, open_official_files
from lab_ddpm.tools.errors import DataError
from lab_ddpm.tools.files import TEMPORARY_PREFIX, atomic_path, remove


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
    with open_official_files(source) as found:
        _check_no_replica(found, out)
        _check_space(found, out)
        with _staging_folder(out) as staging:
            loaded, problems = _stage_others(found.others.values(), staging)
            places = {name: (evaluator_dir if name == OFFICIAL_CHECKPOINT else out) / name for name in loaded}
            labels = loaded.get("train.json")
            if found.images and "train.json" not in found.others and (out / "train.json").is_file():
                labels = load_labels(out / "train.json", OBJECTS)
            if labels is not None:
                problems += _compare(labels, found, out / "images")
            problems += _stage_images(list(found.images.values()), out / "images", staging / "images")
            problems += _conflicts(staging, places)
            seen = None if labels is None else _count_seen(out / "unseen.json", labels)
            if problems:
                raise DataError("\n".join([f"{source}: not imported, nothing was changed:", *problems]))

            num_added = len(image_places(staging / "images"))
            _move_images(staging / "images", out / "images")
            files = {place: _put(staging / name, place) for name, place in places.items()}
    num_images = len(image_places(out / "images"))
    absent = [] if found.images else ["images (CLEVR_train_SSSSSS_K.png)"]
    absent += [name for name in _LOADERS if name not in found.others]
    missing = [] if num_images else ["the images"]
    missing += [] if (out / "train.json").is_file() else ["train.json"]
    return ImportReport(source, out, absent, num_added, num_images, files, seen, missing, found.unopened)


def _load_objects(path: Path) -> None:
    objects = load_objects(path)
    if objects != OBJECTS:
        raise DataError(f"{path}: must have the order {list(OBJECTS)}, got {list(objects)}")


def _load_labels(path: Path) -> dict[str, Condition]:
    labels = load_labels(path, OBJECTS)
    if others := [name for name in labels if not IMAGE_NAME.fullmatch(name)]:
        raise DataError(f"{path}: images must be named CLEVR_train_SSSSSS_K.png, got {', '.join(others)}")
    return labels


_LOADERS: dict[str, Callable[[Path], object]] = {
    "objects.json": _load_objects,
    "test.json": partial(load_conditions, labels=OBJECTS),
    "new_test.json": partial(load_conditions, labels=OBJECTS),
    "train.json": _load_labels,
    OFFICIAL_CHECKPOINT: partial(load_classifier, labels=OBJECTS),
}


def _check_no_replica(found: OfficialFiles, out: Path) -> None:
    if (out / "replica.json").exists() and (found.images or "train.json" in found.others):
        raise DataError(
            f"{out}: holds a rendered replica (replica.json), which cannot be combined with official images; "
            "choose another `--out`, or move images/, masks/, train.json and replica.json away"
        )


def _check_space(found: OfficialFiles, out: Path) -> None:
    new = [file for name, file in found.images.items() if not (out / "images" / name).exists()]
    needed = sum(file.size for file in [*new, *found.others.values()])
    folder = next(folder for folder in (out, *out.absolute().parents) if folder.exists())
    free = shutil.disk_usage(folder).free
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


def _compare(labels: Mapping[str, Condition], found: OfficialFiles, folder: Path) -> list[str]:
    """Compare all images, old and new, with `train.json`. There may be none: they can be imported later."""
    places = image_places(folder) if folder.is_dir() else {}
    places |= {name: file.place for name, file in found.images.items()}
    return compare_names(labels, places) if places else []


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


def _conflicts(staging: Path, places: Mapping[str, Path]) -> list[str]:
    """One line for each existing file that must not be replaced: another checkpoint, or other labels for the images."""

    def is_kept(place: Path) -> bool:
        return place.name == OFFICIAL_CHECKPOINT or (
            place.name == "train.json" and any((place.parent / "images").glob("[!.]*"))
        )

    return [
        f"{place}: exists with other content and is never overwritten; move it away first"
        for name, place in places.items()
        if is_kept(place) and place.exists() and place.read_bytes() != (staging / name).read_bytes()
    ]


def _count_seen(unseen: Path, labels: Mapping[str, Condition]) -> tuple[int, int]:
    conditions = load_conditions(unseen, OBJECTS) if unseen.is_file() else make_condition_lists()["unseen"]
    return count_seen(conditions, labels), len(conditions)


def _move_images(staged: Path, images: Path) -> None:
    os.sync()  # once: flushing thousands of files one by one takes minutes
    if not images.exists():
        staged.replace(images)
    else:
        for path in staged.iterdir():
            path.replace(images / path.name)


def _put(staged: Path, place: Path) -> str:
    """Copy a file to its place, completely or not at all. The place may be on another disk. Returns what was done."""
    content = staged.read_bytes()
    before = place.read_bytes() if place.exists() else None
    if before == content:
        return "unchanged"
    with atomic_path(place) as temporary:
        temporary.write_bytes(content)
    return "added" if before is None else "replaced"
