"""A data set of the Hugging Face Hub, or a folder in one of its formats, read by Hugging Face's `datasets`.

    USER/NAME          on the Hub: downloaded once
    root/*.parquet     or any other files that `datasets` reads without code, such as an ImageFolder
    root/state.json    written by `save_to_disk` (root/dataset_dict.json if there are several splits)

`datasets` copies the rows into Arrow files, file by file, and maps these into memory. Images are decoded one by one
into the cache of `image_cache`. So a data set may be larger than memory, but a single parquet file may not. Images are
read like those of a folder, see `image_folder`.
"""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image

from lab_ddpm.data.conditions import Condition, to_rows
from lab_ddpm.data.decoding import Decoded, decoded
from lab_ddpm.data.image_cache import cached_images
from lab_ddpm.data.image_dataset import ImageDataset
from lab_ddpm.data.images import Size, height_width, naming_broken_images
from lab_ddpm.data.names import clean_label
from lab_ddpm.tools.errors import DataError, UserError, check_choice, did_you_mean
from lab_ddpm.tools.extras import require_extra

if TYPE_CHECKING:
    from datasets import Dataset

_FIT = "crop"
_SAVED = ("state.json", "dataset_dict.json")  # what `save_to_disk` writes for one split, and for several


def open_hub(
    root: str | Path,
    image_size: Size,
    image_column: str | None = None,
    label_column: str | None = None,
    split: str = "train",
    revision: str | None = None,
) -> ImageDataset:
    """Download (if needed), decode (once) and open one split of a data set.

    Args:
        root: A folder, or USER/NAME on the Hub.
        image_size: Size of the opened images, in pixels.
        image_column: The column of the images; None for the only one.
        label_column: The column of the labels: a class, a text, or a list of these; None for the only one, if there is
            one. (A text is a label only if its column is named here.) None, class -1 and an empty text are no label.
        split: The split.
        revision: For the Hub: a branch, tag or commit; None for the newest.

    Raises:
        UserError: `datasets` is not installed, there is no such split or column, or a column must be chosen.
        DataError: The data set is missing, or images or classes are broken; the message has a line
            for each of the first ten.
    """
    require_extra("datasets")
    import datasets

    root = str(root)
    is_local = Path(root).is_dir()
    if is_local and revision is not None:
        raise UserError(f"`revision` is for a data set on the Hub, and {root} is a folder; got {revision!r}")
    splits, files = _load(root, revision)
    check_choice("split", split, splits)
    dataset = splits[split].with_format(None)
    image_column, label_column = _choose_columns(dataset, image_column, label_column)
    labels, conditions, problems = _read_labels(dataset, label_column, f"{root}: {split}/")
    encoded = dataset.select_columns([image_column]).cast_column(image_column, datasets.Image(decode=False))

    def decode(position: int) -> Decoded:
        name, image = f"{root}: {split}/{position}", encoded[position][image_column]
        if image is None:
            raise DataError(f"{name}: no image")
        file = image["path"] or "" if image["bytes"] is None else io.BytesIO(image["bytes"])
        with naming_broken_images(name), Image.open(file) as opened:
            return decoded(opened, image_size, _FIT)

    arrow_files = [Path(file["filename"]) for file in dataset.cache_files]
    images, key, kinds = cached_images(
        Path(root) if is_local else arrow_files[0].parent,
        split,
        [Path(file) for file in files[split]] if is_local and files else arrow_files,
        (image_column, _FIT),
        (len(dataset), *height_width(image_size), 3),
        decode,
        problems,
    )
    names = [f"{split}/{position}" for position in range(len(dataset))]
    return ImageDataset(names, images, to_rows(conditions, labels), labels, _FIT, key, kinds=kinds)


def _load(root: str, revision: str | None) -> tuple[Mapping[Any, Dataset], Mapping[Any, Sequence[str]]]:
    """The splits by name, and the files that they were made from; none if the data set is its own files."""
    import datasets

    if not Path(root).is_dir() and not re.fullmatch(r"[\w.-]+(/[\w.-]+)?", root):
        raise DataError(f"{root}: no such folder")
    try:
        if any((Path(root) / name).is_file() for name in _SAVED):
            saved = datasets.load_from_disk(root)
            return saved if isinstance(saved, datasets.DatasetDict) else {str(saved.split or "train"): saved}, {}
        builder = datasets.load_dataset_builder(root, revision=revision)
        builder.download_and_prepare()
        return builder.as_dataset(), builder.config.data_files or {}  # pyright: ignore[reportReturnType]
    except Exception as error:  # of files that are broken or empty, `datasets` raises nearly anything
        reason = " ".join(str(error.__cause__ or error).split())
        raise DataError(f"{root}: `datasets` cannot read it ({reason})") from None


def _choose_columns(dataset: Dataset, image_column: str | None, label_column: str | None) -> tuple[str, str | None]:
    """The column of the images, and that of the labels if there is one."""
    import datasets

    features = dataset.features
    images = [name for name, feature in features.items() if isinstance(feature, datasets.Image)]
    classes = [name for name, feature in features.items() if isinstance(_entry(feature), datasets.ClassLabel)]
    texts = [name for name, feature in features.items() if "string" in str(getattr(_entry(feature), "dtype", ""))]
    lists = [name for name in texts if _entry(features[name]) is not features[name]]
    chosen = _choose("image_column", image_column, images, images, [*features])
    if chosen is None:
        raise DataError(f"a data set must have a column of images, got the columns {[*features]}")
    return chosen, _choose("label_column", label_column, [*classes, *texts], [*classes, *lists], [*features])


def _entry(feature: Any) -> Any:
    """The feature of an entry of a list; any other feature itself."""
    return getattr(feature, "feature", feature)


def _choose(
    key: str, column: str | None, usable: Sequence[str], default: Sequence[str], columns: Sequence[str]
) -> str | None:
    """The named column, or the only one of `default`; None if there is none."""
    if (column is None and len(default) > 1) or (column is not None and column not in usable):
        hint = did_you_mean(column, usable) if column else ""
        raise UserError(f"{hint}`{key}` must be one of {[*usable]} (of the columns {[*columns]}), got {column!r}")
    return column or next(iter(default), None)


def _read_labels(
    dataset: Dataset, column: str | None, prefix: str
) -> tuple[tuple[str, ...], list[Condition], list[str]]:
    """The vocabulary, the labels of each row, and one line for each row whose class does not exist."""
    if column is None:
        return (), [()] * len(dataset), []
    names = getattr(_entry(dataset.features[column]), "names", None)  # of classes
    classes = None if names is None else [clean_label(name) for name in names]
    conditions: list[Condition] = []
    problems = []
    for row, value in enumerate(dataset[column][:]):
        entries = [entry for entry in (value if isinstance(value, list) else [value]) if entry is not None]
        if classes is not None:
            problems += [f"{prefix}{row}: no class {entry} in {column!r}" for entry in entries if entry >= len(classes)]
            entries = [classes[entry] for entry in entries if 0 <= entry < len(classes)]
        conditions.append(tuple(dict.fromkeys(label for entry in entries if (label := clean_label(entry)))))
    used = {label for condition in conditions for label in condition}
    return tuple(sorted(used) if classes is None else dict.fromkeys(filter(None, classes))), conditions, problems
