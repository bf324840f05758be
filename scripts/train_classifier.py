"""Train the classifiers that score the images: the two of i-CLEVR, or one for another labelled data set."""

import sys
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path

from lab_ddpm.cli import run
from lab_ddpm.data.dataset import DATASETS, IMAGE_SIZES, open_dataset, open_held_out, short_name
from lab_ddpm.data.iclevr import ROOT
from lab_ddpm.evaluation.classifier_training import train_iclevr_classifiers, train_image_classifier
from lab_ddpm.evaluation.classifiers import CLASSIFIERS, EVALUATOR_DIR, IMAGE_SIZE, SMALLEST_IMAGE
from lab_ddpm.tools.arguments import Parser
from lab_ddpm.tools.errors import DataError, UserError, check_at_least, check_choice, check_seed
from lab_ddpm.tools.files import check_writable


def parser() -> Parser:
    parser = Parser("train-classifier", __doc__)
    parser.add_argument("--dataset", default="iclevr", help="iclevr, or another one with labels (default: iclevr)")
    roots = f"folders of training images (default: {ROOT})"
    parser.add_argument("--root", type=Path, nargs="+", default=[ROOT], help=roots)
    held_out = "folder of images to measure on; default for iclevr: 5 %% of the scenes"
    parser.add_argument("--held-out", type=Path, help=held_out)
    parser.add_argument("--names", nargs="+", help="for iclevr: resnet18, referee (default: both)")
    size = "for other data sets, height and width, or one number for both (default: as in their presets)"
    parser.add_argument("--image-size", type=int, nargs="+", metavar="PIXELS", help=size)
    parser.add_argument("--epochs", type=int, help="default: per classifier")
    parser.add_argument("--seed", type=int, default=0, help="default: 0")
    parser.add_argument("--out", type=Path, default=EVALUATOR_DIR, help="default: evaluator")
    return parser


def main(arguments: list[str]) -> None:
    options = parser().parse_args(arguments)
    check_choice("dataset", options.dataset, DATASETS)
    check_seed(options.seed)
    paths = _of_iclevr(options) if options.dataset == "iclevr" else [_of_other_images(options)]
    print("wrote " + ", ".join(f"{path} and {path.with_suffix('.json').name}" for path in paths))


def _of_iclevr(options: Namespace) -> list[Path]:
    if options.image_size is not None:
        raise UserError(f"`--image-size` is for other data sets: the classifiers of i-CLEVR read {IMAGE_SIZE} pixels")
    names = options.names or list(CLASSIFIERS)
    _check_out(options.out, names)
    return train_iclevr_classifiers(options.root, options.held_out, options.out, names, options.epochs, options.seed)


def _of_other_images(options: Namespace) -> Path:
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
    _check_out(options.out, [name])
    training = open_dataset(dataset, root, size)
    if not training.labels:
        raise DataError(f"{root}: a classifier learns labels, and these images have none")
    held_out = open_held_out(dataset, root, options.held_out, size)
    return train_image_classifier(training, held_out, name, options.out, options.epochs, options.seed)


def _check_out(out: Path, names: Sequence[str]) -> None:
    for path in (out / f"{name}.safetensors" for name in names):
        if path.exists():
            raise DataError(f"{path}: is there already, and is never overwritten; choose another `--out`")
    check_writable(out)


if __name__ == "__main__":
    sys.exit(run(main))
