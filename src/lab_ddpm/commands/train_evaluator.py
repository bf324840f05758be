"""`train-evaluator`: the classifiers that score the pictures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from lab_ddpm.classifiers.networks import CLASSIFIERS, PICTURE_SIZE
from lab_ddpm.classifiers.training import train_evaluators, train_picture_classifier
from lab_ddpm.data.dataset import DATASETS, IMAGE_SIZES, open_dataset, open_held_out, short_name
from lab_ddpm.errors import DataError, UserError, check_at_least, check_choice
from lab_ddpm.files import check_writable


def run(
    dataset: str,
    root: Sequence[Path],
    held_out: Path | None,
    out: Path,
    names: Sequence[str] | None,
    image_size: int | None,
    epochs: int | None,
    seed: int,
) -> int:
    """Train the two classifiers of i-CLEVR, or one for another labelled data set, named after it."""
    check_choice("dataset", dataset, DATASETS)
    if dataset == "iclevr":
        if image_size is not None:
            raise UserError(
                f"`--image-size` is for other data sets: the classifiers of i-CLEVR read {PICTURE_SIZE} pixels"
            )
        names = names or list(CLASSIFIERS)
        _check_out(out, names)
        paths = train_evaluators(root, held_out, out, names, epochs, seed)
    else:
        if names is not None:
            raise UserError(f"`--names` is for i-CLEVR: the data set {dataset!r} has one classifier")
        if len(root) != 1:
            raise UserError(f"`root` must be one folder for the data set {dataset!r}, got {len(root)}")
        (folder,) = root
        size = IMAGE_SIZES[dataset] if image_size is None else image_size
        check_at_least("image-size", size, 1)
        name = short_name(dataset, folder)
        _check_out(out, [name])
        held_out_pictures = open_held_out(dataset, folder, held_out, size)
        training = open_dataset(dataset, folder, size)
        paths = [train_picture_classifier(training, held_out_pictures, name, out, epochs, seed)]
    print("wrote " + ", ".join(f"{path} and {path.with_suffix('.json').name}" for path in paths))
    return 0


def _check_out(out: Path, names: Sequence[str]) -> None:
    for path in (out / f"{name}.safetensors" for name in names):
        if path.exists():
            raise DataError(f"{path}: is there already, and is never overwritten; choose another `--out`")
    check_writable(out)
