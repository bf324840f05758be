"""`check-evaluator`: what the two classifiers of i-CLEVR find in pictures with known labels, printed as a table."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from accelerate import PartialState

from lab_ddpm.classifiers.measuring import measure_perturbed, scores
from lab_ddpm.classifiers.networks import CLASSIFIERS, PICTURE_SIZE, classifier_file, load_classifier
from lab_ddpm.data.labelled_pictures import open_labelled_pictures


def run(root: Path) -> int:
    """Objects found / objects asked with Wilson's 95 % interval, in the pictures as they are and perturbed."""
    files = {name: classifier_file(name) for name in CLASSIFIERS}
    held_out = open_labelled_pictures(root, PICTURE_SIZE)
    pictures, class_labels = held_out.pictures, held_out.class_labels
    rows: dict[str, list[str]] = {}
    for file in files.values():
        classifier = load_classifier(file).to(PartialState().device)
        rows.setdefault("as they are", []).append(_cell(scores(classifier, pictures, class_labels)))
        for name, found in measure_perturbed(classifier, pictures, class_labels).items():
            rows.setdefault(f"{name} up to {found['strength']}", []).append(_cell(found))
    print(f"{len(pictures)} pictures, {int(class_labels.sum())} objects; " + ", ".join(map(str, files.values())))
    print("| pictures | " + " | ".join(files) + " |")
    print("|---" * (1 + len(files)) + "|")
    for title, cells in rows.items():
        print(f"| {title} | " + " | ".join(cells) + " |")
    return 0


def _cell(found: dict[str, Any]) -> str:
    low, high = found["micro_ci95"]
    return f"{found['micro']:.4f} [{low:.4f}, {high:.4f}]"
