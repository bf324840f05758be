"""How each classifier is trained, and the perturbations under which the two for i-CLEVR are measured.

Those two differ in seed and augmentation, and in architecture, so that they do not share their mistakes. "images" is
for every data set with one label per image.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Recipe:
    """How one classifier is trained.

    Attributes:
        architecture: One of `classifiers.CLASSIFIERS`.
        epochs: As many draws as there are images, so many times.
        learning_rate: The peak of the cycle.
        changes: {perturbation: (share of the images, strength)}, as `augmentation.augment` takes them. Every
            i-CLEVR image is moved and half of them are mirrored, since positions are what a few thousand scenes have
            too few of.
        seed_offset: Added to the user's seed, so that no two recipes draw the same numbers.
    """

    architecture: str
    epochs: int
    learning_rate: float
    changes: dict[str, tuple[float, float]]
    seed_offset: int


RECIPES = {
    "resnet18": Recipe(
        architecture="resnet18",
        epochs=10,
        learning_rate=1e-3,
        changes={
            "flip": (1.0, 0.5),
            "zoom": (0.25, 0.12),
            "shift": (1.0, 4.0),
            "lamp": (0.25, 0.15),
            "brightness": (0.25, 0.15),
            "contrast": (0.25, 0.15),
            "saturation": (0.25, 0.2),
            "tint": (0.25, 0.04),
            "blur": (0.25, 1.2),
            "resize": (0.25, 0.5),
            "blotches": (0.25, 0.04),
            "noise": (0.25, 0.06),
        },
        seed_offset=0,
    ),
    "referee": Recipe(
        architecture="referee",
        epochs=10,
        learning_rate=2e-3,
        changes={
            "flip": (1.0, 0.5),
            "zoom": (0.25, 0.15),
            "shift": (1.0, 5.0),
            "lamp": (0.25, 0.2),
            "brightness": (0.25, 0.2),
            "contrast": (0.25, 0.2),
            "saturation": (0.25, 0.25),
            "tint": (0.25, 0.05),
            "blur": (0.25, 1.0),
            "resize": (0.25, 0.6),
            "blotches": (0.25, 0.05),
            "noise": (0.25, 0.08),
        },
        seed_offset=1000,
    ),
    "images": Recipe(
        architecture="referee",
        epochs=5,
        learning_rate=2e-3,
        changes={"zoom": (0.5, 0.1), "shift": (1.0, 2.0), "blur": (0.2, 1.0), "noise": (0.2, 0.05)},
        seed_offset=2000,
    ),
}

# Measured one at a time, on every held-out image, at the same strengths for every classifier.
ROBUSTNESS_STRENGTHS = {
    "flip": 1.0,
    "zoom": 0.1,
    "shift": 3.0,
    "lamp": 0.2,
    "brightness": 0.2,
    "contrast": 0.2,
    "saturation": 0.25,
    "tint": 0.05,
    "blur": 1.2,
    "resize": 0.6,
    "blotches": 0.05,
    "noise": 0.08,
}
