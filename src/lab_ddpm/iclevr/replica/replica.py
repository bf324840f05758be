"""The replica data set on disk, in the layout of i-CLEVR.

An image depends only on (seed, scene, step), not on the workers, so rendering can be stopped, resumed and split between
machines: existing images are kept, the others are rendered. `replica.json` is written first and identifies the data
set, so that images of two data sets never mix. `train.json` is written last.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from concurrent.futures import as_completed
from pathlib import Path
from typing import Any, TypeVar

from tqdm import tqdm

from lab_ddpm.data.iclevr import MOST_OBJECTS
from lab_ddpm.data.images import write_png
from lab_ddpm.data.metadata import write_metadata
from lab_ddpm.iclevr.replica.renderer import HEIGHT, RECIPE, WIDTH, render_image
from lab_ddpm.iclevr.replica.scenes import object_map, sample_scene
from lab_ddpm.tools.errors import DataError
from lab_ddpm.tools.extras import require_extra
from lab_ddpm.tools.files import read_json, remove, write_json
from lab_ddpm.tools.interruption import Interrupted, stop_signals
from lab_ddpm.tools.parts import WHOLE, Part
from lab_ddpm.tools.worker_pool import worker_pool

_MASK_SIZE = 4 * WIDTH, 4 * HEIGHT  # larger than the image, so that outlines are exact at any size of images

Labels = dict[str, list[str]]
Result = TypeVar("Result")


def render_replica(
    out: str | Path,
    num_scenes: int,
    seed: int = 0,
    workers: int = 1,
    forbidden: Iterable[Iterable[str]] = (),
    part: Part = WHOLE,
) -> int:
    """Render a data set; run it again to resume, or to add scenes.

    Writes `replica.json` (recipe, seed, number of scenes, forbidden combinations); then, for every scene S and step K,
    `images/CLEVR_train_SSSSSS_K.png` and its mask `masks/CLEVR_train_SSSSSS_K.png` (see `scenes.object_map`); then
    `images/metadata.jsonl` (the labels for Hugging Face's ImageFolder) and `train.json` (file name -> object names).

    Args:
        out: Folder of the data set.
        num_scenes: Scenes of three images each; at least as many as `out` has.
        seed: Seed of the data set.
        workers: Worker processes with one thread each.
        forbidden: Combinations of object names that no image may contain.
        part: The scenes to render. Labels are written by a run for all scenes, which renders what is still missing.

    Returns:
        How many images were rendered now.

    Raises:
        UserError: Mitsuba is not installed.
        DataError: `out` holds images of another seed, recipe or list of forbidden combinations.
        OSError: The disk is full or the folder cannot be written.
        Interrupted: After Ctrl-C or SIGTERM; finished images are kept.
    """
    require_extra("mitsuba")
    combinations = sorted(sorted(combination) for combination in forbidden)
    out = Path(out)
    images = out / "images"
    identity = {"recipe": RECIPE, "seed": seed, "num_scenes": num_scenes, "forbidden": combinations}
    found = read_identity(out)
    _check_identity(out, found, identity)
    if found not in (None, identity):
        remove(out / "train.json")  # so that an unfinished data set is not taken for a finished one
    for folder in (images, out / "masks"):
        folder.mkdir(parents=True, exist_ok=True)
    write_json(out / "replica.json", identity)

    barred = [frozenset(combination) for combination in combinations]
    labels: Labels = {}
    num_rendered = 0
    jobs = [(out, seed, number, barred) for number in part.of(range(num_scenes))]
    for scene_labels, rendered in render_scenes(_render_scene, jobs, MOST_OBJECTS, workers, images):
        labels |= scene_labels
        num_rendered += rendered
    if part == WHOLE:
        labels = dict(sorted(labels.items()))
        write_metadata(images / "metadata.jsonl", labels)
        write_json(out / "train.json", labels)
    return num_rendered


def render_scenes(
    render: Callable[..., Result], jobs: Sequence[tuple[Any, ...]], images_per_scene: int, workers: int, images: Path
) -> Iterator[Result]:
    """Render scenes in worker processes, under a progress bar; yields each result as soon as it is finished.

    Args:
        render: Renders one scene; a function of a module.
        jobs: Its arguments for each scene.
        images_per_scene: The images that a job renders.
        workers: Worker processes with one thread each.
        images: Folder of the images, which are counted if the work is stopped.

    Raises:
        Interrupted: After Ctrl-C or SIGTERM; finished images are kept.
    """
    with (
        stop_signals("stopping after the scenes that are being rendered") as received,
        worker_pool(min(workers, len(jobs))) as pool,
        tqdm(total=len(jobs) * images_per_scene, unit="image", desc="rendering") as progress,
    ):
        try:
            for job in as_completed([pool.submit(render, *arguments) for arguments in jobs]):
                yield job.result()
                progress.update(images_per_scene)
                if received:
                    break
        finally:
            pool.shutdown(cancel_futures=True)  # finish the scenes that are being rendered, and begin no others
    if received:
        raise Interrupted(received[0], f"{len(list(images.glob('*.png')))} images")


def _render_scene(out: Path, seed: int, number: int, forbidden: Collection[frozenset[str]]) -> tuple[Labels, int]:
    """Render the missing images of one scene; returns all its labels, and the number of images rendered."""
    scene = sample_scene(seed, number, MOST_OBJECTS, forbidden)
    labels: Labels = {}
    rendered = 0
    for step in range(MOST_OBJECTS):
        name = f"CLEVR_train_{number:06d}_{step}.png"
        labels[name] = scene.names(step)
        if not (out / "masks" / name).exists():
            write_png(out / "masks" / name, object_map(scene.objects[: step + 1], *_MASK_SIZE))
        if not (out / "images" / name).exists():
            write_png(out / "images" / name, render_image(scene, step))
            rendered += 1
    return labels, rendered


def read_identity(out: str | Path) -> dict[str, Any] | None:
    """The `recipe`, `seed`, `num_scenes` and `forbidden` of the replica in a folder; None if it holds no replica.

    Raises:
        DataError: The folder's `replica.json` is broken.
    """
    path = Path(out) / "replica.json"
    if not path.is_file():
        return None
    content: Any = read_json(path)
    if not isinstance(content, dict) or not isinstance(content.get("num_scenes"), int):
        raise DataError(f"{path}: is not what `render` writes")
    return content


def _check_identity(out: Path, found: dict[str, Any] | None, wanted: dict[str, Any]) -> None:
    """Raise `DataError` unless `out` is new or holds the wanted data set, or a part of it."""
    if found is None:
        if (out / "train.json").exists() or any(any((out / part).glob("*.png")) for part in ("images", "masks")):
            raise DataError(f"{out}: holds another data set (it has train.json, images or masks, but no replica.json)")
        return
    if found.get("recipe") != wanted["recipe"]:
        raise DataError(f"{out}: another version of this package rendered this replica; choose another folder")
    if any(found.get(key) != wanted[key] for key in ("seed", "forbidden")):
        raise DataError(f"{out}: holds images of another --seed, or of another --with-unseen; choose another folder")
    if found["num_scenes"] > wanted["num_scenes"]:
        raise DataError(f"{out}: `num_scenes` must be at least {found['num_scenes']}, got {wanted['num_scenes']}")
