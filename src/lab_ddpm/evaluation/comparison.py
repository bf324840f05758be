"""Compare generated images with the real images of a data set, as two sets; see `distances`."""

from __future__ import annotations

import torch

from lab_ddpm.data.image_dataset import ImageDataset
from lab_ddpm.data.images import COLOUR_MODES, Images
from lab_ddpm.diffusion.pipeline import LabelConditionalPipeline
from lab_ddpm.evaluation.classifiers import Features, load_classifier
from lab_ddpm.evaluation.distances import compare, extract, inception_features, nearest
from lab_ddpm.evaluation.scores import found_in
from lab_ddpm.tools.errors import DataError, UserError
from lab_ddpm.tools.hardware import this_process


class Comparison:
    """Compares generated images with training images, and for reference, held-out real images with training images.

    No model can be expected to do better than the held-out images.

    Args:
        training: Images of the data set that the model was trained on.
        held_out: Images that it was not trained on, with the same labels.
        features: "inception", or the file of a classifier other than resnet18.
        num_images: How many held-out images are compared, chosen at random; all if there are fewer. (Fewer images give
            larger distances.)

    Attributes:
        held_out: The scores of the held-out images, as in `scores`.
        num_held_out: The number of held-out images.

    Raises:
        UserError: Too few images, or the classifier is a resnet18.
        DataError: The two parts differ in their labels or colours, or the classifier does not fit them.
    """

    def __init__(self, training: ImageDataset, held_out: ImageDataset, features: str, num_images: int) -> None:
        check_held_out(training, held_out)
        device, channels = this_process().device, training.images.shape[-1]
        if features == "inception":
            self._classifier, self._network = None, inception_features().to(device)
        else:
            self._classifier = load_classifier(features, training.labels or None, channels).to(device)
            self._network = Features(self._classifier)
        self._training = training.images
        self._training_features = extract(self._network, training.images)
        self._held_out, class_labels = held_out.some(num_images, seed=0)
        self.num_held_out = len(self._held_out)
        self.held_out = self.scores(self._held_out, class_labels)

    def scores(self, images: Images, class_labels: torch.Tensor) -> dict[str, float]:
        """The scores of (N, H, W, C) uint8 images, as in `distances.compare`.

        With a classifier and (N, num_labels) labels that are not all zero, also "labels_found", the class accuracy.
        """
        found = compare(self._training_features, extract(self._network, images))
        if self._classifier is not None and class_labels.any():
            found["labels_found"] = found_in(self._classifier, images, class_labels)["micro"]["mean"]
        return found

    def find_copies(self, images: Images, count: int) -> tuple[dict[str, float], Images, Images]:
        """Measure whether a model repeats its training images.

        Args:
            images: (N, H, W, C) uint8.
            count: How many images to return.

        Returns:
            The median distance to the nearest training image, that of the held-out images, and the share of images
            that are nearer than the nearest 1 % of the held-out ones; the `count` nearest images, and the training
            image next to each.
        """
        distances, indices = nearest(images, self._training)
        of_held_out, _ = nearest(self._held_out, self._training)
        figures = {
            "median": float(distances.median()),
            "held_out_median": float(of_held_out.median()),
            "share_below_first_percentile_of_held_out": float((distances < of_held_out.quantile(0.01)).float().mean()),
        }
        closest = distances.argsort()[:count]
        return figures, images[closest.numpy()], self._training[indices[closest].numpy()]


def check_held_out(training: ImageDataset, held_out: ImageDataset) -> None:
    """Raise `DataError` unless the two parts have the same labels, and both are grey or neither is."""
    if held_out.labels != training.labels:
        raise DataError(
            f"the held-out images must have the labels {list(training.labels)} of the training images, "
            f"got {list(held_out.labels)}"
        )
    own, others = (COLOUR_MODES[part.images.shape[-1]] for part in (training, held_out))
    if own != others:
        raise DataError(f"the held-out images must be {own}, as the training images are, but they are {others}")


def check_data(pipeline: LabelConditionalPipeline, images: ImageDataset) -> None:
    """Raise `UserError` unless the model makes images like these, with the same labels if both have labels."""
    channels, own = images.images.shape[-1], pipeline.denoiser.config["in_channels"]
    if channels != own:
        raise UserError(
            f"{pipeline.checkpoint} makes {COLOUR_MODES[own]} images, but those to compare are {COLOUR_MODES[channels]}"
        )
    labels = pipeline.denoiser.labels
    if labels and images.labels and labels != images.labels:
        raise UserError(f"{pipeline.checkpoint} was trained on labels that differ from those of these images")
