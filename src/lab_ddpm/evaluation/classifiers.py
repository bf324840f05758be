"""Classifiers that read labels from images: architectures, files, predictions and features.

Those for i-CLEVR take images (B, 3, 64, 64) in [-1, 1] and return 24 independent sigmoids, one per object. `resnet18`
has the architecture of the official evaluator, and chooses checkpoints during training. `referee` only scores final
results, so that no score comes from the network that chose the checkpoint. It is a VGG with batch normalisation
(Simonyan & Zisserman, "Very Deep Convolutional Networks", 2014, arXiv:1409.1556). The classifiers of other data sets
are wider networks of this kind, with the widths of Jordan, "94% on CIFAR-10 in 3.29 Seconds on a Single GPU", 2024,
arXiv:2404.00498. They measure class accuracy, and their features give distances between sets of images (`distances`).

The files are in `evaluator/`. The header of each file names its architecture and its labels.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from safetensors import safe_open
from torch import nn
from torchvision.models import resnet18
from torchvision.models.vgg import make_layers

from lab_ddpm.data.iclevr import OBJECTS, OFFICIAL_CHECKPOINT
from lab_ddpm.data.images import COLOUR_MODES, Images, to_tensor
from lab_ddpm.tools.errors import DataError, UserError
from lab_ddpm.tools.shipped import find_shipped
from lab_ddpm.tools.weights import load_state, read_weights, save_halved

CLASSIFIERS = ("resnet18", "referee")
SELECTING_CLASSIFIER = "resnet18"  # chooses checkpoints; the other one scores final results only
IMAGE_SIZE = 64
SMALLEST_IMAGE = 16  # the fewest pixels on a side: two are left after halving three times
EVALUATOR_DIR = Path("evaluator")

# A number is a convolution with that many channels, "M" halves the image.
_NUM_FEATURES, _BATCH_SIZE = 256, 128
_VGG: dict[str, list[str | int]] = {
    "referee": [24, "M", 48, 48, "M", 96, 96, "M", 192, 192, "M", 256, _NUM_FEATURES],
    "images": [32, 64, "M", 64, 256, "M", 256, 256, "M", _NUM_FEATURES],
}


class _Float32Sigmoid(nn.Sigmoid):
    """A sigmoid in float32, even under autocast. bfloat16 rounds 0.999 to 1, so a confident mistake has no gradient."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return super().forward(input.float())


def build_classifier(name: str, num_labels: int, channels: int = 3) -> nn.Module:
    """An untrained classifier, (B, channels, H, W) in [-1, 1] -> (B, num_labels) in [0, 1].

    Args:
        name: "resnet18", "referee" or "images".
        num_labels: The number of labels.
        channels: 3, or 1 for grey images; resnet18 has 3.
    """
    if name == "resnet18":
        classifier = resnet18(weights=None)
        classifier.fc = nn.Sequential(nn.Linear(512, num_labels), _Float32Sigmoid())  # pyright: ignore[reportAttributeAccessIssue]
        return classifier
    layers = make_layers(_VGG[name], batch_norm=True)
    if channels != 3:
        layers[0] = nn.Conv2d(channels, cast(nn.Conv2d, layers[0]).out_channels, kernel_size=3, padding=1)
    last = nn.Linear(_NUM_FEATURES, num_labels)
    return nn.Sequential(layers, nn.AdaptiveMaxPool2d(1), nn.Flatten(), last, _Float32Sigmoid())


def save_classifier(
    classifier: nn.Module,
    architecture: str,
    folder: str | Path,
    labels: Sequence[str],
    name: str | None = None,
    image_size: tuple[int, int] | None = None,
) -> Path:
    """Write `folder/NAME.safetensors`, with the architecture, the labels and the size of the images in its header.

    NAME is `name`, or else the architecture.
    """
    path = Path(folder) / f"{name or architecture}.safetensors"
    header = {"classifier": architecture, "labels": json.dumps(labels), "image_size": json.dumps(image_size)}
    save_halved(classifier, path, header)
    return path


def classifier_file(name: str) -> Path:
    """`evaluator/NAME.safetensors` of the working folder, or else the shipped one.

    If `evaluator/checkpoint.pth`, the official classifier, is there, it replaces `resnet18`.

    Raises:
        DataError: There is no such file.
    """
    official = EVALUATOR_DIR / OFFICIAL_CHECKPOINT
    if name == "resnet18" and official.is_file():
        return official
    return _find(EVALUATOR_DIR / f"{name}.safetensors")


def _find(path: str | Path) -> Path:
    path = find_shipped(path)
    if not path.is_file():
        raise DataError(f"{path}: no such classifier; scripts/train_classifier.py trains one")
    return path


def load_classifier(path: str | Path, labels: Sequence[str] | None, channels: int | None = None) -> nn.Module:
    """Load a classifier in float32, ready to predict. No code in the file is ever run.

    Args:
        path: A `.safetensors` file from `save_classifier`, or the official `.pth` file.
        labels: The labels that it must have; None if only its features are needed.
        channels: The number of channels that it must read; None to skip this check.

    Raises:
        DataError: The file is missing, broken or no classifier, has other labels, or reads another number of channels.
    """
    path = _find(path)
    name, own_labels, image_size, state = _read_official(path) if path.suffix == ".pth" else _read_safetensors(path)
    if labels is not None and list(labels) != own_labels:
        raise DataError(f"{path}: made for the labels {', '.join(own_labels)}, not for {', '.join(labels) or 'none'}")
    own_channels = next((state[key].shape[1] for key in sorted(state) if state[key].ndim == 4), 3)  # the first layer's
    classifier = build_classifier(name, len(own_labels), own_channels)
    load_state(path, classifier, state)  # copies into the float32 parameters
    if channels not in (None, own_channels):
        raise DataError(f"{path}: made for {COLOUR_MODES[own_channels]} images, but these are {COLOUR_MODES[channels]}")
    cast(Any, classifier).image_size = image_size
    return classifier.eval()


@torch.inference_mode()
def predict(classifier: nn.Module, images: Images) -> NDArray[np.float32]:
    """The probability of every label in every image.

    Args:
        classifier: A classifier on any device.
        images: (N, H, W, C) uint8, brought to the size that a loaded classifier was trained at if its file says it.

    Returns:
        (N, num_labels) float32 in [0, 1].
    """
    classifier.eval()
    device = next(classifier.parameters()).device
    batches = (images[start : start + _BATCH_SIZE] for start in range(0, len(images), _BATCH_SIZE))
    inputs = (_resized(to_tensor(batch).to(device), classifier) for batch in batches)
    return torch.cat([classifier(batch).float().cpu() for batch in inputs]).numpy()


class Features(nn.Module):
    """The inputs of a classifier's last layer, as features: (B, C, H, W) uint8 -> (B, 256).

    Raises:
        UserError: The classifier is a resnet18.
    """

    def __init__(self, classifier: nn.Module) -> None:
        super().__init__()
        if not isinstance(classifier, nn.Sequential):
            raise UserError("features need a classifier of another architecture than resnet18")
        self.layers, self.image_size = classifier[:3].eval(), getattr(classifier, "image_size", None)

    @torch.inference_mode()
    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """See above; the features are float32."""
        return self.layers(_resized(images / 127.5 - 1, self))


def _resized(images: torch.Tensor, network: nn.Module) -> torch.Tensor:
    """(B, C, H, W) images in [-1, 1] at the size that the network was trained at, if that is known."""
    size = getattr(network, "image_size", None)
    if size in (None, list(images.shape[2:])):
        return images
    return F.interpolate(images, size, mode="bilinear", antialias=True)  # as in `images.resize_images`


def _read_safetensors(path: Path) -> tuple[str, list[str], list[int] | None, dict[str, torch.Tensor]]:
    state = read_weights(path)
    with safe_open(path, framework="pt") as file:
        header = file.metadata() or {}
    if header.get("classifier") not in ("resnet18", *_VGG):
        raise DataError(f"{path}: not a classifier that scripts/train_classifier.py wrote")
    return header["classifier"], json.loads(header["labels"]), json.loads(header.get("image_size", "null")), state


def _read_official(path: Path) -> tuple[str, list[str], list[int] | None, dict[str, torch.Tensor]]:
    content = read_weights(path)
    state = content.get("model") if isinstance(content, dict) else None
    if not isinstance(state, dict) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise DataError(f'{path}: must hold {{"model": state dict}}, as the official evaluator does')
    return "resnet18", list(OBJECTS), None, state
