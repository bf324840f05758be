"""What goes wrong in a model's images of i-CLEVR: which objects are missed, and what is seen in their place.

    shape     the colour is right: a red cube that the referee takes for a red cylinder
    colour    the shape is right
    other     neither

For a condition of k objects the k highest outputs of the referee are what an image shows (`evaluation.object_scores`), so
it has as many strangers as misses; they are paired so that as many pairs as possible share a colour or a shape.

Of a model with a layout also whether the map that was drawn with the image shows the object: a miss that it shows
went wrong in the drawing, a miss that it lacks was decided before; and whether the map shows more objects than were
asked for, which no score of the classifiers punishes; and how sharp the objects of each shape are: a cube without edges
may pass with a classifier, and people take it for a cylinder. And of any model its weave: see `patch_energy`.

All shares have the intervals of `evaluation.object_scores`, over other seeds and other conditions.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import permutations
from pathlib import Path

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import nn

from lab_ddpm.data.conditions import Condition
from lab_ddpm.data.iclevr import OBJECTS, SHAPES
from lab_ddpm.data.image_cache import ImageDataset
from lab_ddpm.data.images import Images, resize_images, write_png
from lab_ddpm.diffusion.layout import labels_in
from lab_ddpm.diffusion.sample_space import SampleSpace
from lab_ddpm.drawing.figures import labelled_grid
from lab_ddpm.evaluation.classifiers import IMAGE_SIZE, predict
from lab_ddpm.evaluation.image_statistics import patch_energy, sharpness_within
from lab_ddpm.evaluation.intervals import Interval
from lab_ddpm.evaluation.object_scores import Bootstrap, top_k, top_k_hits
from lab_ddpm.generation.checking import count_objects
from lab_ddpm.generation.sampler import Sampler, Samples
from lab_ddpm.studies.shares import ShareRow, cells
from lab_ddpm.tools.errors import UserError
from lab_ddpm.tools.files import check_writable, write_json, write_text
from lab_ddpm.tools.tables import markdown_table

_SHOWN, _COLUMNS = 32, 8
Pair = tuple[str, str]  # an object that was asked for, and what is seen in its place


def study_mistakes(
    sampler: Sampler,
    lists: dict[str, list[Condition]],
    referee: nn.Module,
    num_seeds: int,
    real: ImageDataset | None,
    out: Path,
) -> Path:
    """Sample condition lists and sort what is missed; write `table.md`, `table.json` and `NAME.png` with mistakes.

    Args:
        sampler: Of a model of i-CLEVR.
        lists: Condition lists by name.
        referee: The classifier that finds objects.
        num_seeds: Seeds 0 ... num_seeds - 1 of every condition.
        real: Images to compare weave and sharpness with, with masks for a model with a layout; None for none.
        out: Where the files go.

    Returns:
        The table.

    Raises:
        UserError: The model is of other labels.
    """
    if sampler.labels != OBJECTS:
        raise UserError(f"{sampler.checkpoint} was trained on other labels than the {len(OBJECTS)} i-CLEVR objects")
    check_writable(out)
    space = sampler.denoiser.space
    table: list[list[object]] = []
    content = {}
    for name, conditions in lists.items():
        asked = conditions * num_seeds
        samples = sampler.sample_seeds(conditions, num_seeds, progress=f"sampling {name}")
        outputs = predict(referee, resize_images(samples.images, IMAGE_SIZE))
        hits = top_k_hits(outputs, samples.class_labels)
        pairs = [list(mistaken(*row)) for row in zip(outputs, samples.class_labels.numpy() > 0, strict=True)]
        shares = _Shares(num_seeds, len(conditions))
        rows = [*_by_kind(pairs, hits, samples, shares), *_by_map(hits, samples, shares)]
        seen_as = Counter(f"{one} -> {other}" for of_image in pairs for one, other in of_image)
        looks = _looks(samples.images, samples.masks, space.patch_size)
        content[name] = {"rows": rows, "seen_as": dict(seen_as.most_common()), "looks": looks}
        table += [[name, *cells(row)] for row in rows] + _looks_cells(name, looks, len(asked))
        _show(out / f"{name}.png", samples.images, asked, pairs)
    if real is not None:
        looks = _looks(real.images, None if real.masks is None else _by_patch(real.masks, space), space.patch_size)
        content["real images"] = {"looks": looks}
        table += _looks_cells("real images", looks, len(real))
    write_json(out / "table.json", {**sampler.settings(), "num_seeds": num_seeds, "lists": content})
    write_text(out / "table.md", markdown_table(["list", "what", "share", "of"], table))
    return out / "table.md"


def mistaken(outputs: ArrayLike, asked: NDArray[np.bool_]) -> Iterator[Pair]:
    """What is missed in an image, and what is seen in its place.

    Args:
        outputs: (24,) of a classifier.
        asked: (24,), true for the objects of the condition.
    """
    shown = top_k(outputs, int(asked.sum()))
    strangers = [OBJECTS[place] for place in shown if not asked[place]]
    missed = [OBJECTS[place] for place in np.flatnonzero(asked) if place not in shown]
    ways = (tuple(zip(missed, order, strict=True)) for order in permutations(strangers))
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
        """Of what is counted in each image, seed by seed: (S * N,) numbers among (S * N,) numbers."""
        among = np.asarray(of, dtype=np.float64).reshape(self._shape)
        share = Interval(mean=None, ci95=None)
        if among.any():
            share = Interval(**self._bootstrap.ratio(np.asarray(found, dtype=np.float64).reshape(self._shape), among))
        return ShareRow(what=what, share=share, of=int(among.sum()))


def _by_kind(
    pairs: Sequence[Sequence[Pair]], hits: NDArray[np.bool_], samples: Samples, shares: _Shares
) -> list[ShareRow]:
    asked = samples.class_labels.numpy().sum(axis=1)
    kinds = [[kind_of(*pair) for pair in of_image] for of_image in pairs]
    names = {"shape": "objects of a wrong shape", "colour": "objects of a wrong colour", "other": "objects amiss"}
    rows = [shares.row(name, [of.count(kind) for of in kinds], asked) for kind, name in names.items()]
    return [shares.row("objects found", hits.sum(axis=1), asked), *rows]


def _by_map(hits: NDArray[np.bool_], samples: Samples, shares: _Shares) -> list[ShareRow]:
    """Whether the maps show what was asked for, where it is found and where it is missed."""
    if samples.masks is None:
        return []
    shown = labels_in(torch.from_numpy(samples.masks)[:, None], len(OBJECTS)).numpy()
    asked = samples.class_labels.numpy() > 0
    objects = {"objects found": asked & hits, "objects missed": asked & ~hits}
    rows = [
        shares.row(f"{name} that the map shows", (of & shown).sum(axis=1), of.sum(axis=1))
        for name, of in objects.items()
    ]
    too_many = count_objects(samples.masks) > asked.sum(axis=1)
    return [*rows, shares.row("images whose map shows too many objects", too_many, np.ones(len(asked)))]


def _looks(images: Images, masks: NDArray[np.uint8] | None, patch_size: int) -> dict[str, float]:
    """The weave of a model of patches, and the sharpness of objects where (N, h, w) masks say where they stand."""
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


def _by_patch(masks: Images, space: SampleSpace) -> NDArray[np.uint8]:
    """(N, H, W, 1) masks as `Samples` have them: (N, h, w)."""
    parts = torch.from_numpy(np.array(masks)).movedim(-1, 1).split(1024)
    return torch.cat([space.by_patch(part) for part in parts])[:, 0].to(torch.uint8).numpy()


def _show(path: Path, images: Images, conditions: Sequence[Condition], pairs: Sequence[Sequence[Pair]]) -> None:
    """The first images with a mistake in them, and what it is."""
    wrong = [index for index, of_image in enumerate(pairs) if of_image][:_SHOWN]
    if wrong:
        captions = [
            ", ".join(conditions[index]) + "; " + ", ".join(f"{one} -> {other}" for one, other in pairs[index])
            for index in wrong
        ]
        write_png(path, labelled_grid(images[wrong], captions, _COLUMNS))
