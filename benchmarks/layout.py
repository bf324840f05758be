"""Measure how well a model reads images, places objects and edits, on held-out images with masks.

    python benchmarks/layout.py --root data/held_out --checkpoint pretrained/iclevr-cpu

    reading    of the patches where an object stands or is seen, the share that is read right; and objects seen
    placing    the middles of an image's objects are asked for: objects within `NEAR` pixels of them, and objects found
    editing    one object is added, removed, replaced or moved: whether that worked, and whether the others are found

A figure shows the same images read, placed anew and edited. The referee says what is found, as in `evaluation.scores`;
a removed object is gone if its output is below 1/2. The model itself reads where an object stands; the first rows say
how well it reads.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import nn
from tqdm.auto import tqdm

from common import ShareRow, by_patch, cells, markdown_table, share_row
from lab_ddpm.arguments import add_checkpoint, add_sampling, sampling_options
from lab_ddpm.cli import run
from lab_ddpm.data.conditions import Condition
from lab_ddpm.data.iclevr import OBJECTS
from lab_ddpm.data.image_dataset import ImageDataset
from lab_ddpm.data.images import Images, resize_images, to_tensor, write_png
from lab_ddpm.data.labelled_images import open_labelled_images
from lab_ddpm.diffusion.layout import labels_in
from lab_ddpm.diffusion.pipeline import LabelConditionalPipeline
from lab_ddpm.diffusion.sampling import image_seeds
from lab_ddpm.drawing.figures import image_table
from lab_ddpm.evaluation.classifiers import IMAGE_SIZE, classifier_file, load_classifier, predict
from lab_ddpm.evaluation.comparison import check_data
from lab_ddpm.evaluation.scores import top_k_hits
from lab_ddpm.generation.checkpoint import open_pipeline
from lab_ddpm.generation.editing import Edited, NotEdited, add_object, move_object, remove_object, replace_object
from lab_ddpm.generation.generate import sampling_record
from lab_ddpm.generation.placing import Place, find_places, generate_placed
from lab_ddpm.generation.reading import check_reads, read_images
from lab_ddpm.tools.errors import UserError, check_at_least
from lab_ddpm.tools.files import check_writable, write_json, write_text
from lab_ddpm.tools.hardware import this_process

NEAR = 4.0  # pixels of an image 64 pixels wide
LEVELS = 4  # of 255
_SHOWN = 8

# Index of an image and one of its labels -> the edited image.
_Edit = Callable[[int, str], Edited]


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, required=True, help="images with masks that were never trained on")
    add_checkpoint(parser)
    add_sampling(parser)
    parser.add_argument("--num-images", type=int, default=96, help="default: 96")
    parser.add_argument("--out", type=Path, default=Path("layout"), help="default: layout")
    options = parser.parse_args(arguments)
    check_at_least("num-images", options.num_images, 1)
    pipeline = open_pipeline(options.checkpoint, **sampling_options(options))
    size, fit = pipeline.denoiser.config["sample_size"], pipeline.config["fit"]
    dataset = open_labelled_images(options.root, size, OBJECTS, fit, with_masks=True)
    referee = load_classifier(classifier_file("referee"), OBJECTS).to(this_process().device)
    table = measure(dataset, pipeline, referee, options.num_images, options.out)
    print(table.read_text(encoding="utf-8") + f"wrote {table} and its images beside it")


def measure(
    dataset: ImageDataset, pipeline: LabelConditionalPipeline, referee: nn.Module, num_images: int, out: Path
) -> Path:
    """Measure all three; write `table.md`, which is returned, `table.json` and `figure.png`.

    Args:
        dataset: Held-out images with masks.
        pipeline: Of a model that reads images.
        referee: The classifier that finds objects.
        num_images: Number of the images, chosen at random.
        out: Where the files go.

    Raises:
        UserError: The images have other labels than the model, or no masks, or the model does not read.
    """
    check_data(pipeline, dataset)
    check_reads(pipeline.denoiser)
    check_writable(out)
    study = _Study(dataset, pipeline, referee, num_images)
    rows = [*study.reading(), *study.placing(), *study.editing(), *study.taking_back(dataset)]
    write_json(out / "table.json", {"num_images": len(study.images), **sampling_record(pipeline), "rows": rows})
    write_text(out / "table.md", markdown_table(["what", "share", "of"], map(cells, rows)))
    write_png(out / "figure.png", image_table(study.figure))
    return out / "table.md"


class _Study:
    def __init__(
        self, dataset: ImageDataset, pipeline: LabelConditionalPipeline, referee: nn.Module, num_images: int
    ) -> None:
        if dataset.masks is None:
            raise UserError("the images must have masks")
        self.pipeline, self.denoiser, self.referee = pipeline, pipeline.denoiser, referee
        self.labels = pipeline.denoiser.labels
        with_objects = np.flatnonzero(dataset.masks.reshape(len(dataset), -1).any(axis=1))
        chosen = np.random.default_rng(0).permutation(with_objects)[:num_images]
        self.images: Images = dataset.images[chosen]
        self.rows = dataset.class_labels[chosen]
        self.masks = torch.from_numpy(dataset.masks[chosen]).movedim(-1, 1).long()
        self.places = find_places(self.denoiser, self.masks)
        names = np.array(self.labels, dtype=object)
        self.conditions: list[Condition] = [tuple(names[row > 0]) for row in self.rows.numpy()]
        self.seeds = image_seeds(0, len(chosen))
        several = [index for index, condition in enumerate(self.conditions) if len(condition) > 1]
        self.shown = (several or list(range(len(chosen))))[:_SHOWN]
        captions = [", ".join(self.conditions[index]) for index in self.shown]
        self.figure: list[list[Images | str]] = [["an image", *self.images[self.shown]], ["", *captions]]

    def reading(self) -> list[ShareRow]:
        """With the labels known, and with none."""
        true = by_patch(self.denoiser.space, self.masks)
        results = []
        ways = {"labels known": self.rows}
        if self.denoiser.config["condition_dropout"]:  # else the model knows no null label
            ways["labels unknown"] = torch.zeros_like(self.rows)
        for title, rows in ways.items():
            seen = self.denoiser.space.masks(read_images(self.denoiser, to_tensor(self.images), rows)).cpu()
            somewhere = (true > 0) | (seen > 0)
            results.append(share_row(f"reading, {title}: patches read right", (seen == true)[somewhere]))
            self.figure.append([f"read, {title}", *(self._drawn(index, seen[index, 0]) for index in self.shown)])
            shown, found = (labels_in(masks, len(self.labels)) for masks in (self.masks, seen))
            results.append(share_row(f"reading, {title}: objects seen", found[shown]))
            results.append(share_row(f"reading, {title}: objects seen that are there", shown[found]))
        return results

    def placing(self) -> list[ShareRow]:
        """Every image's objects in their places, in a new image."""
        drawn = generate_placed(self.pipeline, self.places, self.seeds, progress="placing")
        samples = read_images(self.denoiser, to_tensor(drawn.images), self.rows)
        near, read = [], find_places(self.denoiser, self.denoiser.space.masks(samples).cpu())
        for seen, of_image in zip(read, self.places, strict=True):
            seen_at = {place.label: (place.x, place.y) for place in seen}
            for place in of_image:
                x, y = seen_at.get(place.label, (np.inf, np.inf))
                near.append(np.hypot(x - place.x, y - place.y) <= NEAR * self.images.shape[2] / IMAGE_SIZE)
        self.figure.append(["placed", *drawn.images[self.shown]])
        found = self._found(drawn.images, self.rows)[self.rows > 0]
        return [share_row("placing: objects in their places", near), share_row("placing: objects found", found)]

    def editing(self) -> list[ShareRow]:
        """One object of every image, chosen at random."""
        random = np.random.default_rng(1)

        def fresh(condition: Condition) -> str:
            return str(random.choice([label for label in self.labels if label not in condition]))

        def remove(index: int, label: str) -> Edited:
            return remove_object(self.pipeline, self.images[index], self.conditions[index], label, seed=index)

        def replace(index: int, label: str) -> Edited:
            image, condition = self.images[index], self.conditions[index]
            return replace_object(self.pipeline, image, condition, label, fresh(condition), seed=index)

        def add(index: int, _: str) -> Edited:
            image, condition = self.images[index], self.conditions[index]
            place = self._free_place(fresh(condition), self.places[index], random)
            return add_object(self.pipeline, image, condition, place, seed=index)

        def move(index: int, label: str) -> Edited:
            others = [place for place in self.places[index] if place.label != label]
            place = self._free_place(label, others, random)
            return move_object(self.pipeline, self.images[index], self.conditions[index], place, seed=index)

        results = []
        for name, edit in (("removed", remove), ("replaced", replace), ("added", add), ("moved", move)):
            results += self._edited(name, edit, random)
        return results

    def _edited(self, name: str, edit: _Edit, random: np.random.Generator) -> list[ShareRow]:
        shown, done, rest = {}, [], []
        for index, condition in enumerate(tqdm(self.conditions, desc=name)):
            if len(condition) == (1 if name == "removed" else len(self.labels)):
                continue  # nothing would be left, or there is nothing new
            try:
                edited = edit(index, str(random.choice(list(condition))))
            except NotEdited:
                done.append(False)
                continue
            shown[index] = edited
            outputs = self._outputs(edited.image[None])
            hits = top_k_hits(outputs, self.denoiser.class_labels([edited.condition]).cpu())[0]
            found = {label: bool(hits[self.labels.index(label)]) for label in edited.condition}
            gone = [outputs[0][self.labels.index(label)] < 0.5 for label in condition if label not in found]
            done.append(all(found[label] for label in found if label not in condition) and all(gone))
            rest += [found[label] for label in found if label in condition]
        images = [shown[index].image if index in shown else self.images[index] for index in self.shown]
        captions = [", ".join(shown[index].condition) if index in shown else "not edited" for index in self.shown]
        self.figure += [[name, *images], ["", *captions]]
        return [share_row(f"editing: {name} as asked", done), share_row(f"editing, {name}: other objects found", rest)]

    def taking_back(self, dataset: ImageDataset) -> list[ShareRow]:
        """Objects that a scene got last, removed again. The scene before is the right answer."""
        rows, finer = dataset.class_labels, torch.from_numpy(np.array(dataset.masks)).movedim(-1, 1)
        masks = F.interpolate(finer, dataset.images.shape[1:3])[:, 0].long()
        scenes = []
        for index in range(1, len(dataset)):
            new = rows[index] - rows[index - 1]
            others = (masks[index] > 0) & (masks[index] != new.argmax() + 1)
            is_next = new.abs().sum() == new.sum() == 1 and rows[index - 1].any()
            if is_next and torch.equal(masks[index][others], masks[index - 1][others]):
                scenes.append((index, int(new.argmax())))
        near = []
        for number in tqdm(np.random.default_rng(2).permutation(len(scenes))[: len(self.images)], desc="taken back"):
            index, new = scenes[number]
            condition = tuple(np.array(self.labels, dtype=object)[rows[index] > 0])
            try:
                edited = remove_object(self.pipeline, dataset.images[index], condition, self.labels[new], seed=index)
            except NotEdited:
                continue
            differences = np.abs(edited.image.astype(float) - dataset.images[index - 1]).mean(axis=2)
            of_others = (masks[index - 1] == label + 1 for label in rows[index - 1].nonzero()[:, 0])
            near += [differences[pixels].mean() <= LEVELS for pixels in of_others if pixels.any()]
        if not near:  # no scene of the data set is there without its last object
            return []
        return [share_row(f"editing, removed: other objects within {LEVELS} levels of the real scene", near)]

    def _free_place(self, label: str, taken: list[Place], random: np.random.Generator) -> Place:
        """A place in the middle half of the image, at least a fifth of its width from all others if possible."""
        height, width = self.images.shape[1:3]
        middle = np.array([width, height])
        tried = [Place(label, *random.uniform(middle / 4, middle * 3 / 4)) for _ in range(50)]
        return max(
            tried, key=lambda place: min([width / 5, *(np.hypot(place.x - at.x, place.y - at.y) for at in taken)])
        )

    def _outputs(self, images: Images) -> NDArray[np.float32]:
        return np.asarray(predict(self.referee, resize_images(images, IMAGE_SIZE)))

    def _found(self, images: Images, rows: torch.Tensor) -> NDArray[np.bool_]:
        return top_k_hits(self._outputs(images), rows)

    def _drawn(self, index: int, seen: torch.Tensor) -> Images:
        """The (h, w) map that was read in an image: each label in the mean colour of where it was read, on white."""
        image = self.images[index]
        factor = image.shape[0] // seen.shape[0]
        masks = seen.numpy().repeat(factor, axis=0).repeat(factor, axis=1)
        drawn = np.full_like(image, 255)
        for value in np.unique(masks[masks > 0]):
            drawn[masks == value] = image[masks == value].mean(axis=0)
        return drawn


if __name__ == "__main__":
    sys.exit(run(main))
