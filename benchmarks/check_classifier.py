"""Measure the classifiers of i-CLEVR on images with known labels, as they are and perturbed."""

import sys
from pathlib import Path
from typing import Any

from lab_ddpm.cli import run
from lab_ddpm.data.iclevr import OBJECTS, ROOT
from lab_ddpm.data.labelled_images import open_labelled_images
from lab_ddpm.evaluation.classifiers import CLASSIFIERS, IMAGE_SIZE, classifier_file, load_classifier
from lab_ddpm.evaluation.intervals import as_text
from lab_ddpm.evaluation.measuring import found_in, measure_perturbed
from lab_ddpm.tools.arguments import Parser
from lab_ddpm.tools.hardware import this_process
from lab_ddpm.tools.tables import markdown_table


def parser() -> Parser:
    parser = Parser("check-classifier", __doc__)
    parser.add_argument("--root", type=Path, default=ROOT, help=f"images that they never saw (default: {ROOT})")
    return parser


def main(arguments: list[str]) -> None:
    options = parser().parse_args(arguments)
    files = {name: classifier_file(name) for name in CLASSIFIERS}
    held_out = open_labelled_images(options.root, IMAGE_SIZE, OBJECTS)
    images, class_labels = held_out.images, held_out.class_labels
    rows: dict[str, list[str]] = {}
    for file in files.values():
        classifier = load_classifier(file, OBJECTS).to(this_process().device)
        rows.setdefault("as they are", []).append(_cell(found_in(classifier, images, class_labels)))
        for name, found in measure_perturbed(classifier, images, class_labels).items():
            rows.setdefault(f"{name} up to {found['strength']}", []).append(_cell(found))
    print(f"{len(images)} images, {int(class_labels.sum())} objects; " + ", ".join(map(str, files.values())))
    print(markdown_table(["images", *files], ([title, *cells] for title, cells in rows.items())), end="")


def _cell(found: dict[str, Any]) -> str:
    """Objects found / objects asked with Wilson's 95 % interval."""
    return as_text(found["micro"], ".4f")


if __name__ == "__main__":
    sys.exit(run(main))
