"""Train the classifiers that score images: the two of i-CLEVR, or one for another labelled data set."""

import dataclasses
import sys
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lab_ddpm.arguments import Parser, add_hub_options, hub_options, refuse
from lab_ddpm.cli import load_torch, run
from lab_ddpm.data.iclevr import OBJECTS, ROOT
from lab_ddpm.tools.errors import DataError, UserError, check_at_least, check_choice, check_positive, check_seed
from lab_ddpm.tools.files import check_writable


def parser() -> Parser:
    parser = Parser("train-classifier", __doc__)
    parser.add_argument("--dataset", default="iclevr", help="iclevr or another with labels (default: iclevr)")
    roots = f"folders of training images (default: {ROOT})"
    parser.add_argument("--root", type=Path, nargs="+", default=[ROOT], help=roots)
    held_out = "folder of images to test on; for hub: a split (default for iclevr: 5 %% of the scenes)"
    parser.add_argument("--held-out", type=Path, help=held_out)
    names = "for iclevr: resnet18, referee or, with images of `render --for-counter`, counter (default: the first two)"
    parser.add_argument("--names", nargs="+", action="extend", help=names)
    size = "for other data sets: height and width, or one number for both (default: as in their configs)"
    parser.add_argument("--image-size", type=int, nargs="+", metavar="PIXELS", help=size)
    flip = "for other data sets: mirror half of the training images, left to right"
    parser.add_argument("--random-flip", action="store_true", default=None, help=flip)
    parser.add_argument("--epochs", type=int, help="default: as in the classifier's recipe")
    parser.add_argument("--seed", type=int, default=0, help="default: 0")
    parser.add_argument("--out", type=Path, default=Path("evaluator"), help="default: evaluator")
    add_hub_options(parser)
    return parser


def main(arguments: list[str]) -> None:
    options = parser().parse_args(arguments)
    check_seed(options.seed)
    if options.epochs is not None:
        check_positive("epochs", options.epochs)
    of_hub = hub_options(options, options.dataset)
    load_torch("training a classifier")
    from lab_ddpm.data.open_dataset import DATASETS

    check_choice("dataset", options.dataset, DATASETS)
    if options.names == ["counter"] and options.dataset == "iclevr":
        refuse(options, "--names counter", "image_size", "random_flip")
        paths = [train_counter(options)]
    else:
        paths = train_on_iclevr(options) if options.dataset == "iclevr" else train_on_other_images(options, of_hub)
    print("wrote " + ", ".join(f"{path} and {path.with_suffix('.json').name}" for path in paths))


def train_on_iclevr(options: Namespace) -> list[Path]:
    from lab_ddpm.evaluation.classifier_training import open_iclevr_parts, train_and_save
    from lab_ddpm.evaluation.classifiers import CLASSIFIERS
    from lab_ddpm.evaluation.recipes import RECIPES

    if options.image_size is not None:
        raise UserError("`--image-size` is for other data sets: the classifiers of i-CLEVR read 64 pixels")
    if options.random_flip:
        raise UserError("`--random-flip` is for other data sets: those of i-CLEVR are always mirrored")
    names = options.names or list(CLASSIFIERS)
    if "counter" in names:
        raise UserError("`--names counter` must be the only name: it needs other images")
    for name in names:
        check_choice("names", name, CLASSIFIERS)
    check_out(options.out, names)
    parts = open_iclevr_parts(options.root, options.held_out)
    return [
        train_and_save(RECIPES[name], name, *parts, OBJECTS, options.out, options.epochs, options.seed)
        for name in names
    ]


def train_counter(options: Namespace) -> Path:
    from lab_ddpm.evaluation.counter_training import train_and_save_counter

    if len(options.root) != 1 or options.held_out is None:
        raise UserError("the counter needs one `--root` and `--held-out`, both from `render --for-counter`")
    if options.root[0].resolve() == options.held_out.resolve():
        raise UserError(f"`--held-out` must be another folder than `--root`, got {str(options.held_out)!r}")
    check_out(options.out, ["counter"])
    return train_and_save_counter(options.root[0], options.held_out, options.out, options.epochs, options.seed)


def train_on_other_images(options: Namespace, of_hub: dict[str, Any]) -> list[Path]:
    from lab_ddpm.data.open_dataset import IMAGE_SIZES, open_dataset, open_held_out, short_name
    from lab_ddpm.evaluation.classifier_training import train_and_save
    from lab_ddpm.evaluation.classifiers import SMALLEST_IMAGE
    from lab_ddpm.evaluation.comparison import check_held_out
    from lab_ddpm.evaluation.recipes import RECIPES

    dataset = options.dataset
    if options.names is not None:
        raise UserError(f"`--names` is for i-CLEVR: the data set {dataset!r} has one classifier")
    if len(options.root) != 1:
        raise UserError(f"`root` must be one folder for the data set {dataset!r}, got {len(options.root)}")
    (root,) = options.root
    lengths = options.image_size or [IMAGE_SIZES[dataset]]
    if len(lengths) > 2:
        raise UserError(f"`--image-size` must be one or two numbers, got {len(lengths)}")
    for length in lengths:
        check_at_least("image-size", length, SMALLEST_IMAGE)
    size = lengths[0], lengths[-1]
    name = short_name(dataset, root)
    check_out(options.out, [name])
    training = open_dataset(dataset, root, size, **of_hub)
    if not training.class_labels.any():
        raise DataError(f"{root}: a classifier learns labels, but these images have none")
    held_out = open_held_out(dataset, root, options.held_out, size, **of_hub)
    check_held_out(training, held_out)
    if not held_out.class_labels.any():
        raise DataError(f"{options.held_out}: a classifier is measured by labels, but these images have none")
    learnt, measured = ((part.images, part.class_labels) for part in (training, held_out))
    recipe, labels = RECIPES["images"], training.labels
    if options.random_flip:
        recipe = dataclasses.replace(recipe, changes={"flip": (1.0, 0.5), **recipe.changes})
    return [train_and_save(recipe, name, learnt, measured, labels, options.out, options.epochs, options.seed)]


def check_out(out: Path, names: Sequence[str]) -> None:
    for path in (out / f"{name}.safetensors" for name in names):
        if path.exists():
            raise DataError(f"{path} exists and is never overwritten; choose another `--out`")
    check_writable(out)


if __name__ == "__main__":
    sys.exit(run(main))
