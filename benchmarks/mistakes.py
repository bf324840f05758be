"""Sort what goes wrong in a model's images of i-CLEVR: which objects are missed, and what is seen in their place.

    python benchmarks/mistakes.py --split new_val --real data/held_out

    shape     the colour is right: a red cube that the referee takes for a red cylinder
    colour    the shape is right
    other     neither

For a condition of k objects the k highest outputs of the referee are what an image shows (`evaluation.scores`), so
it has as many wrong objects as missed ones. They are paired so that as many pairs as possible share a colour or a
shape.

For a model with a layout the table also says whether the map that was drawn with an image shows the object. If it does,
the mistake was made in the drawing; if not, it was made before. And it says how sharp the objects of each shape are: a
classifier may accept a cube without edges, and people take it for a cylinder. The counter says which images show what
was asked for and nothing else. For all models see `common.patch_energy`.

All shares have intervals over seeds and conditions, see `evaluation.intervals.Bootstrap`.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import permutations
from pathlib import Path

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import nn

from common import ShareRow, by_patch, cells, markdown_table, patch_energy, sharpness_within
from lab_ddpm.arguments import SPLITS_HELP, add_checkpoint, add_sampling, sampling_options
from lab_ddpm.cli import run
from lab_ddpm.data.conditions import Condition, load_conditions
from lab_ddpm.data.iclevr import OBJECTS, ROOT, SHAPES, resolve_split
from lab_ddpm.data.image_dataset import ImageDataset
from lab_ddpm.data.images import Images, resize_images, write_png
from lab_ddpm.data.labelled_images import open_labelled_images
from lab_ddpm.diffusion.layout import labels_in
from lab_ddpm.diffusion.pipeline import LabelConditionalPipeline
from lab_ddpm.diffusion.sample_space import SampleSpace
from lab_ddpm.drawing.figures import labelled_grid
from lab_ddpm.evaluation.classifiers import IMAGE_SIZE, classifier_file, load_classifier, predict
from lab_ddpm.evaluation.counter import count_objects, count_scores, load_counter
from lab_ddpm.evaluation.intervals import Bootstrap
from lab_ddpm.evaluation.scores import top_k, top_k_hits
from lab_ddpm.generation.checkpoint import open_pipeline
from lab_ddpm.generation.generate import GeneratedImages, generate_seeds, sampling_record
from lab_ddpm.tools.errors import UserError, check_at_least
from lab_ddpm.tools.files import check_writable, write_json, write_text
from lab_ddpm.tools.hardware import this_process

_SHOWN, _COLUMNS = 32, 8
Pair = tuple[str, str]  # an object that was asked for, and what is seen in its place


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--split", action="append", help=f"{SPLITS_HELP}; may be repeated (default: val)")
    parser.add_argument("--root", type=Path, default=ROOT, help=f"folder of the condition lists (default: {ROOT})")
    parser.add_argument("--real", type=Path, help="folder of real images to compare sharpness and energy with")
    add_checkpoint(parser)
    add_sampling(parser)
    parser.add_argument("--num-seeds", type=int, default=4, help="seeds 0, 1, ... (default: 4)")
    parser.add_argument("--out", type=Path, default=Path("mistakes"), help="default: mistakes")
    options = parser.parse_args(arguments)
    check_at_least("num-seeds", options.num_seeds, 1)
    splits = options.split or ["val"]
    if len({Path(split).stem for split in splits}) < len(splits):
        raise UserError(f"`split` must name lists with different file names, got {splits}")
    lists = {Path(split).stem: load_conditions(resolve_split(split, options.root), OBJECTS) for split in splits}
    pipeline = open_pipeline(options.checkpoint, **sampling_options(options))
    if pipeline.denoiser.labels != OBJECTS:
        raise UserError(f"{pipeline.checkpoint} was trained on other labels than the {len(OBJECTS)} i-CLEVR objects")
    real = None
    if options.real is not None:
        size, fit = pipeline.denoiser.config["sample_size"], pipeline.config["fit"]
        with_masks = pipeline.denoiser.space.has_layout and (options.real / "masks").is_dir()
        real = open_labelled_images(options.real, size, OBJECTS, fit, with_masks)
    referee = load_classifier(classifier_file("referee"), OBJECTS).to(this_process().device)
    table = measure(pipeline, lists, referee, options.num_seeds, real, options.out)
    print(table.read_text(encoding="utf-8") + f"wrote {table} and its images beside it")


def measure(
    pipeline: LabelConditionalPipeline,
    lists: dict[str, list[Condition]],
    referee: nn.Module,
    num_seeds: int,
    real: ImageDataset | None,
    out: Path,
) -> Path:
    """Sample condition lists and sort the mistakes; write `table.md`, which is returned, `table.json` and `NAME.png`.

    Args:
        pipeline: Of a model of i-CLEVR.
        lists: Condition lists by name.
        referee: The classifier that finds objects.
        num_seeds: Seeds 0 ... num_seeds - 1 of every condition.
        real: Images to compare with, with masks for a model with a layout; None for none.
        out: Where the files go.
    """
    check_writable(out)
    space, counter = pipeline.denoiser.space, load_counter()
    table: list[list[object]] = []
    content = {}
    for name, conditions in lists.items():
        asked = conditions * num_seeds
        generated = generate_seeds(pipeline, conditions, num_seeds, progress=f"sampling {name}")
        resized = resize_images(generated.images, IMAGE_SIZE)
        outputs = predict(referee, resized)
        hits = top_k_hits(outputs, generated.class_labels)
        pairs = [list(mistaken(*row)) for row in zip(outputs, generated.class_labels.numpy() > 0, strict=True)]
        shares = _Shares(num_seeds, len(conditions))
        rows = [*_by_kind(pairs, hits, generated, shares), *_by_map(hits, generated, shares)]
        counted = count_scores(count_objects(counter, resized), generated.class_labels[: len(conditions)])
        rows.append(ShareRow(what="images that are right", share=counted["right"], of=len(asked)))
        rows.append(ShareRow(what="images with too many objects", share=counted["too_many"], of=len(asked)))
        seen_as = Counter(f"{one} -> {other}" for of_image in pairs for one, other in of_image)
        looks = _looks(generated.images, generated.masks, space.patch_size)
        content[name] = {"rows": rows, "seen_as": dict(seen_as.most_common()), "looks": looks}
        table += [[name, *cells(row)] for row in rows] + _looks_cells(name, looks, len(asked))
        _show(out / f"{name}.png", generated.images, asked, pairs)
    if real is not None:
        looks = _looks(
            real.images, None if real.masks is None else _masks_by_patch(real.masks, space), space.patch_size
        )
        content["real images"] = {"looks": looks}
        table += _looks_cells("real images", looks, len(real))
    write_json(out / "table.json", {**sampling_record(pipeline), "num_seeds": num_seeds, "lists": content})
    write_text(out / "table.md", markdown_table(["list", "what", "share", "of"], table))
    return out / "table.md"


def mistaken(outputs: ArrayLike, asked: NDArray[np.bool_]) -> Iterator[Pair]:
    """What is missed in an image, and what is seen in its place.

    Args:
        outputs: (24,) of a classifier.
        asked: (24,), true for the objects of the condition.
    """
    shown = top_k(outputs, int(asked.sum()))
    seen = [OBJECTS[place] for place in shown if not asked[place]]
    missed = [OBJECTS[place] for place in np.flatnonzero(asked) if place not in shown]
    ways = (tuple(zip(missed, order, strict=True)) for order in permutations(seen))
    yield from max(ways, key=lambda pairs: sum(kind_of(*pair) != "other" for pair in pairs))


def kind_of(asked: str, seen: str) -> str:
    """What is wrong with an object that is seen in the place of another: "shape", "colour" or "other"."""
    (colour, shape), (seen_colour, seen_shape) = asked.split(), seen.split()
    return "shape" if colour == seen_colour else "colour" if shape == seen_shape else "other"


class _Shares:
    """Rows of shares of the images of some seeds of some conditions."""

    def __init__(self, num_seeds: int, num_conditions: int) -> None:
        self._shape = num_seeds, num_conditions
        self._bootstrap = Bootstrap(*self._shape)

    def row(self, what: str, found: ArrayLike, of: ArrayLike) -> ShareRow:
        """The row of (S * N,) numbers, seed by seed, among (S * N,) numbers."""
        among = np.asarray(of, dtype=np.float64).reshape(self._shape)
        counted = np.asarray(found, dtype=np.float64).reshape(self._shape)
        share = self._bootstrap.ratio(counted, among) if among.any() else None
        return ShareRow(what=what, share=share, of=int(among.sum()))


def _by_kind(
    pairs: Sequence[Sequence[Pair]], hits: NDArray[np.bool_], generated: GeneratedImages, shares: _Shares
) -> list[ShareRow]:
    asked = generated.class_labels.numpy().sum(axis=1)
    kinds = [[kind_of(*pair) for pair in of_image] for of_image in pairs]
    names = {"shape": "of a wrong shape", "colour": "of a wrong colour", "other": "of a wrong shape and colour"}
    rows = [shares.row(f"objects {name}", [of.count(kind) for of in kinds], asked) for kind, name in names.items()]
    return [shares.row("objects found", hits.sum(axis=1), asked), *rows]


def _by_map(hits: NDArray[np.bool_], generated: GeneratedImages, shares: _Shares) -> list[ShareRow]:
    """Whether the maps show what was asked for, where it is found and where it is missed."""
    if generated.masks is None:
        return []
    shown = labels_in(torch.from_numpy(generated.masks)[:, None], len(OBJECTS)).numpy()
    asked = generated.class_labels.numpy() > 0
    objects = {"objects found": asked & hits, "objects missed": asked & ~hits}
    return [
        shares.row(f"{name} that the map shows", (of & shown).sum(axis=1), of.sum(axis=1))
        for name, of in objects.items()
    ]


def _looks(images: Images, masks: NDArray[np.uint8] | None, patch_size: int) -> dict[str, float]:
    """The energy at the period of the patches, and the sharpness of each shape if (N, h, w) masks are known."""
    energy = {"energy at the period of the patches": patch_energy(images, patch_size)} if patch_size > 1 else {}
    if masks is None:
        return energy
    areas = {
        shape: np.isin(masks, [place + 1 for place, name in enumerate(OBJECTS) if name.endswith(shape)])
        for shape in SHAPES
    }
    sharpness = {f"sharpness of {shape}s": sharpness_within(images, area) for shape, area in areas.items()}
    return energy | {what: value for what, value in sharpness.items() if not np.isnan(value)}


def _looks_cells(name: str, looks: dict[str, float], of: int) -> list[list[object]]:
    return [[name, what, f"{value:.2e}", of] for what, value in looks.items()]


def _masks_by_patch(masks: Images, space: SampleSpace) -> NDArray[np.uint8]:
    """(N, H, W, 1) masks as `GeneratedImages` has them: (N, h, w)."""
    parts = torch.from_numpy(np.array(masks)).movedim(-1, 1).split(1024)
    return torch.cat([by_patch(space, part) for part in parts])[:, 0].to(torch.uint8).numpy()


def _show(path: Path, images: Images, conditions: Sequence[Condition], pairs: Sequence[Sequence[Pair]]) -> None:
    """Write the first images with mistakes, and their mistakes."""
    wrong = [index for index, of_image in enumerate(pairs) if of_image][:_SHOWN]
    if wrong:
        captions = [
            ", ".join(conditions[index]) + "; " + ", ".join(f"{one} -> {other}" for one, other in pairs[index])
            for index in wrong
        ]
        write_png(path, labelled_grid(images[wrong], captions, _COLUMNS))


if __name__ == "__main__":
    sys.exit(run(main))
