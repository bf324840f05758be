"""What judges images of i-CLEVR: both classifiers, which find the asked objects, and the counter, which counts all."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from lab_ddpm.data.conditions import Condition, encode
from lab_ddpm.data.iclevr import OBJECTS
from lab_ddpm.data.images import Images, resize_images
from lab_ddpm.evaluation.classifiers import CLASSIFIERS, IMAGE_SIZE, classifier_file, load_classifier
from lab_ddpm.evaluation.counter import Counts, count_objects, count_scores, load_counter
from lab_ddpm.evaluation.scores import Scores, score_seeds


class Judges:
    """The classifiers, on a device (None: the CPU), and the counter.

    Attributes:
        files: The files of the classifiers, by name.

    Raises:
        DataError: One of them is missing or broken.
    """

    def __init__(self, device: torch.device | None) -> None:
        self.files = {name: classifier_file(name) for name in CLASSIFIERS}
        self.classifiers = {name: load_classifier(file, OBJECTS).to(device) for name, file in self.files.items()}
        self.counter = load_counter()

    def score(self, images: Images, conditions: Sequence[Condition]) -> tuple[dict[str, Scores], Counts]:
        """The scores of (S * N, H, W, 3) uint8 images of N conditions by classifier, and those of the counter."""
        class_labels, resized = encode(conditions, OBJECTS), resize_images(images, IMAGE_SIZE)
        counts = count_objects(self.counter, resized)
        return score_seeds(resized, class_labels, self.classifiers), count_scores(counts, class_labels)
