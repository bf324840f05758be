"""A folder of the user's own images.

    root/*.jpg                     images without labels
    root/CLASS/*.jpg               one label per image: the name of its folder (images may be at any depth below it)
    root/metadata.jsonl            any number of labels per image (images may be at any depth), see `metadata`
    root/images/, root/train.json  the same, see `labelled_images`

Images of any size are cropped to the largest central part with the right proportions, then resized. Transparent ones
get a white background. All are opened in colour; `open_dataset` makes them grey again if all files are.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from lab_ddpm.data.conditions import encode, to_rows
from lab_ddpm.data.image_cache import cached_files
from lab_ddpm.data.image_dataset import ImageDataset
from lab_ddpm.data.images import Size
from lab_ddpm.data.labelled_images import LABEL_FILE, open_labelled_images, read_vocabulary
from lab_ddpm.data.metadata import find_metadata, read_metadata
from lab_ddpm.data.names import as_on_disk, clean_label
from lab_ddpm.tools.errors import DataError, UserError, some
from lab_ddpm.tools.files import visible_files

_FIT = "crop"
PARTS = ("train", "training", "test", "testing", "val", "valid", "validation")


def open_folder(root: str | Path, image_size: Size, with_masks: bool = False) -> ImageDataset:
    """Check, decode (once) and open the images of `root` and their labels.

    Args:
        root: The folder.
        image_size: Size of the opened images, in pixels.
        with_masks: Whether to open the masks of a `labelled_images` folder too.

    Raises:
        UserError: Masks are wanted, but the folder is not a `labelled_images` folder.
        DataError: There are no images, or some files are not images or are broken, or only some of the images have a
            class; the message names them. Or the sub-folders are the parts of a data set, such as train/ and
            test/.
    """
    root = Path(root)
    if (root / LABEL_FILE).is_file():
        return open_labelled_images(root, image_size, read_vocabulary(root), _FIT, with_masks)
    if with_masks:
        raise UserError(f"`with_masks` needs masks, and {root} has none: only a folder with {LABEL_FILE} can have them")
    if not root.is_dir():
        raise DataError(f"{root}: no such folder of images")
    if metadata := find_metadata(root):
        return _open_with_metadata(metadata, image_size)
    return _open_with_classes(root, image_size)


def _open_with_classes(root: Path, image_size: Size) -> ImageDataset:
    """Images whose labels are the names of their sub-folders, or images without labels."""
    files = visible_files(root)
    if dead := [str(path) for path in files if not path.exists()]:
        raise DataError(f"{some(dead)}: links to what does not exist")
    if not files:
        raise DataError(f"{root}: no images in this folder")
    extensions = Image.registered_extensions()
    paths = [path for path in files if path.suffix.lower() in extensions]
    unknown = [path for path in files if path.suffix.lower() not in extensions]
    problems = [f"{path}: not an image that Pillow reads; convert it or move it away" for path in unknown]
    names = [path.relative_to(root) for path in paths]
    classes = [clean_label(name.parts[0]) if len(name.parts) > 1 else "" for name in names]
    labels = tuple(sorted(set(classes) - {""}))
    _check_parts(root, names, labels)
    if labels:
        unlabelled = [path for path, name in zip(paths, classes, strict=True) if not name]
        problems += [f"{path}: must be in a sub-folder that names its class, like the others" for path in unlabelled]
    images, key, kinds = cached_files(root, paths, image_size, _FIT, problems)
    class_labels = to_rows([(name,) if name else () for name in classes], labels)
    return ImageDataset([str(name) for name in names], images, class_labels, labels, _FIT, key, kinds=kinds)


def _check_parts(root: Path, names: Sequence[Path], labels: Sequence[str]) -> None:
    """Raise `DataError` if sub-folders are parts of a data set, such as train/ and test/, and not classes."""
    parts = [label for label in labels if label.lower() in PARTS]
    nested = {name.parts[0] for name in names if len(name.parts) > 2}
    if len(parts) > 1 or (parts and parts == list(labels)) or nested & set(parts):
        example = next((part for part in parts if part.lower().startswith("train")), parts[0])
        raise DataError(
            f"{root}: its folders {', '.join(parts)} are parts of a data set, not classes; name one of them, such as "
            f"{root / example}"
        )


def _open_with_metadata(metadata: Path, image_size: Size) -> ImageDataset:
    root = metadata.parent
    conditions, problems = read_metadata(metadata)
    files = {path.relative_to(root).as_posix(): path for path in visible_files(root) if path != metadata}
    conditions, twice = as_on_disk(conditions, files)
    problems += [f"{metadata}: {line}" for line in twice]
    problems += [f"{metadata}: {name}: no such image" for name in sorted(conditions.keys() - files.keys())]
    problems += [f"{files[name]}: not named in {metadata.name}" for name in sorted(files.keys() - conditions.keys())]
    names = sorted(conditions.keys() & files.keys())
    labels = tuple(sorted({label for condition in conditions.values() for label in condition}))
    images, key, kinds = cached_files(root, [files[name] for name in names], image_size, _FIT, problems)
    return ImageDataset(
        names, images, encode([conditions[name] for name in names], labels), labels, _FIT, key, kinds=kinds
    )
