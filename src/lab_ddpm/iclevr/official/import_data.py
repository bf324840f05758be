"""Check the official i-CLEVR files, as courses hand them out, and copy them to where the commands look for them.

    images -> out/images/      JSON lists -> out/      checkpoint.pth -> evaluator_dir/

They are found by their names, at any depth of a folder or a zip file. New images are copied into a hidden folder inside
`out`, then renamed into place; `train.json` is written last. So an error changes nothing, and to complete a killed
import one runs it again. The files may come in parts: each import adds to the data set, and never mixes it with another
one.
"""

from __future__ import annotations

import filecmp
import os
import re
import shutil
import zlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from zipfile import BadZipFile, ZipFile

from PIL import Image
from tqdm.auto import tqdm

from lab_ddpm.data.conditions import Condition, load_conditions, load_labels, load_objects
from lab_ddpm.data.iclevr import OBJECTS, OFFICIAL_CHECKPOINT
from lab_ddpm.data.images import naming_broken_images
from lab_ddpm.data.labelled_images import compare_names, image_paths
from lab_ddpm.evaluation.classifiers import load_classifier
from lab_ddpm.tools.errors import DataError, listed, some
from lab_ddpm.tools.files import TEMPORARY_PREFIX, atomic_path, remove, visible_files

_IMAGE_NAME = re.compile(r"CLEVR_train_[0-9]{6}_[0-9]\.png")
_MASKS = "masks"  # the folder of masks, which have the names of their images


@dataclass(frozen=True)
class ImportReport:
    """What an import did.

    Attributes:
        num_added: Images that this import added to `out/images`.
        files: "added", "replaced" or "unchanged" for the path of each list and of the checkpoint.
        missing: What training on the official data still needs.
        text: A summary to print.
    """

    num_added: int
    files: dict[Path, str]
    missing: list[str]
    text: str


def import_data(source: Path, out: Path, evaluator_dir: Path) -> ImportReport:
    """Check official files and put them in place.

    Args:
        source: A folder or a zip file with any of the images, the four JSON lists and `checkpoint.pth`.
        out: Folder of the data set.
        evaluator_dir: Folder of the classifiers.

    Raises:
        DataError: Files are broken, missing or not listed (the first ten are named), or `out` holds other data. Nothing
            has been changed then.
        OSError: The disk is full or a folder cannot be written.
    """
    images = out / "images"
    with _staging_folder(out) as staging:
        found = _find(source, staging / "unpacked")
        new_images = {name: path for name, path in found.items() if _IMAGE_NAME.fullmatch(name)}
        goals = {name: (evaluator_dir if name == OFFICIAL_CHECKPOINT else out) / name for name in _LOADERS}
        goals = {name: goal for name, goal in goals.items() if name in found}
        if (out / "replica.json").exists() and (new_images or "train.json" in found):
            raise DataError(
                f"{out}: holds a rendered replica (replica.json), which cannot be combined with official images; "
                "choose another `--out`, or move images/, masks/, train.json and replica.json away"
            )
        labels, problems = _check_others(found, goals)
        if new_images and "train.json" not in found and (out / "train.json").is_file():
            labels = load_labels(out / "train.json", OBJECTS)
        if labels is not None:
            paths = (image_paths(images) if images.is_dir() else {}) | {
                name: str(new_images[name]) for name in new_images
            }
            problems += compare_names(labels, paths) if paths else []  # they may be imported later
        problems += _check_images([*new_images.values()], images)
        if problems:
            text = listed(problems).replace(f"{staging / 'unpacked'}/", f"{source}: ")
            raise DataError(f"{source}: not imported, nothing was changed:\n{text}")

        added = [path for name, path in new_images.items() if not (images / name).exists()]
        for path in added:
            shutil.copyfile(path, staging / path.name)
        os.sync()  # once: flushing thousands of files one by one takes minutes
        images.mkdir(exist_ok=True)
        for path in added:
            (staging / path.name).replace(images / path.name)
        files = {goal: _put(found[name], goal) for name, goal in goals.items()}
    num_images = len(image_paths(images))
    absent = [] if new_images else ["images (CLEVR_train_SSSSSS_K.png)"]
    absent += [name for name in _LOADERS if name not in found]
    missing = [] if num_images else ["the images"]
    missing += [] if (out / "train.json").is_file() else ["train.json"]
    has_not = f"; it does not contain {', '.join(absent)}" if absent else ""
    state = f"training still needs {' and '.join(missing)}" if missing else "ready for training"
    lines = [
        f"checked {source}: no file is broken{has_not}",
        f"{images}: {len(added)} images added, {num_images} in all",
        *(f"{path}: {what}" for path, what in files.items()),
        f"{out}: {state}",
    ]
    return ImportReport(len(added), files, missing, "\n".join(lines))


def _load_objects(path: Path) -> None:
    objects = load_objects(path)
    if objects != OBJECTS:
        raise DataError(f"{path}: must have the order {list(OBJECTS)}, got {list(objects)}")


def _load_labels(path: Path) -> dict[str, Condition]:
    labels = load_labels(path, OBJECTS)
    if others := [name for name in labels if not _IMAGE_NAME.fullmatch(name)]:
        raise DataError(f"{path}: images must be named CLEVR_train_SSSSSS_K.png, got {some(others)}")
    return labels


_LOADERS: dict[str, Callable[[Path], Any]] = {
    OFFICIAL_CHECKPOINT: partial(load_classifier, labels=OBJECTS),
    "objects.json": _load_objects,
    "test.json": partial(load_conditions, labels=OBJECTS),
    "new_test.json": partial(load_conditions, labels=OBJECTS),
    "train.json": _load_labels,
}


@contextmanager
def _staging_folder(out: Path) -> Iterator[Path]:
    """A new hidden folder in `out`, from which files can be renamed into place. Removes that of a killed import."""
    is_new = not out.exists()
    staging = out / f"{TEMPORARY_PREFIX}import"
    remove(staging)
    staging.mkdir(parents=True)
    try:
        yield staging
    finally:
        remove(staging)
        if is_new and not any(out.iterdir()):
            out.rmdir()


def _find(source: Path, unpacked: Path) -> dict[str, Path]:
    """The official files by name; those of a zip file are unpacked first."""
    found: dict[str, Path] = {}
    for path in visible_files(source if source.is_dir() else _unpack(source, unpacked)):
        if _is_official(path.name) and path.parent.name != _MASKS:
            twin = found.setdefault(path.name, path)
            if not filecmp.cmp(twin, path, shallow=False):
                raise DataError(f"{path}: differs from {twin}; a name must not have two contents")
    if not found:
        wanted = ", ".join(["CLEVR_train_SSSSSS_K.png", *_LOADERS])
        raise DataError(f"{source}: must contain some of the official files {wanted}, not packed in another zip file")
    return found


def _is_official(name: str) -> bool:
    return name in _LOADERS or bool(_IMAGE_NAME.fullmatch(name))


def _unpack(source: Path, folder: Path) -> Path:
    """Unpack the official files of a zip file. (`ZipFile.extract` never leaves the folder, and makes no links.)"""
    if not source.is_file():
        raise DataError(f"{source}: no such folder or zip file")
    folder.mkdir()
    name = str(source)
    try:
        with ZipFile(source) as archive:
            for member in archive.infolist():
                member.filename = member.filename.replace("\\", "/")  # which some Windows programs write
                name = f"{source}: {member.filename}"
                if _is_official(Path(member.filename).name):
                    archive.extract(member, folder)
    except (BadZipFile, EOFError, RuntimeError, ValueError, zlib.error) as error:
        raise DataError(f"{name}: must be in a whole zip file ({error})") from None
    return folder


def _check_others(found: dict[str, Path], goals: dict[str, Path]) -> tuple[dict[str, Condition] | None, list[str]]:
    """Load the lists and the checkpoint; returns the labels of `train.json`, if it is there, and the problems."""
    labels, problems = None, []
    for name, goal in goals.items():
        try:
            content = _LOADERS[name](found[name])
        except DataError as error:
            problems.append(str(error))
            continue
        if name == "train.json":
            labels = content
        if _is_kept(goal) and not filecmp.cmp(found[name], goal, shallow=False):
            problems.append(f"{goal}: exists with other content, which is never overwritten; move it away first")
    return labels, problems


def _check_images(paths: Sequence[Path], folder: Path) -> list[str]:
    """Decode every image, and compare it with that of the same name in `folder`; returns the problems."""

    def check(path: Path) -> str | None:
        try:
            with naming_broken_images(path), Image.open(path, formats=["PNG"]) as image:
                image.load()
        except DataError as error:
            return str(error)
        existing = folder / path.name
        if existing.exists() and not filecmp.cmp(path, existing, shallow=False):
            return f"{existing}: is another image, which is never overwritten; choose another `--out`"
        return None

    with ThreadPoolExecutor() as pool:
        results = tqdm(pool.map(check, paths), total=len(paths), desc="checking images", leave=False, delay=2)
        return [problem for problem in results if problem]


def _is_kept(path: Path) -> bool:
    """Whether a file must not be replaced: a checkpoint, or the labels of images that are there."""
    if path.name == "train.json":
        return path.exists() and any((path.parent / "images").glob("[!.]*"))
    return path.name == OFFICIAL_CHECKPOINT and path.exists()


def _put(source: Path, goal: Path) -> str:
    """Copy a file to `goal`, completely or not at all. Returns what was done."""
    existed = goal.exists()
    if existed and filecmp.cmp(source, goal, shallow=False):
        return "unchanged"
    with atomic_path(goal) as temporary:
        shutil.copyfile(source, temporary)
    return "replaced" if existed else "added"
