"""How each classifier is trained, and the perturbations under which both are measured.

The two recipes differ in seed and augmentation, and their classifiers in architecture, so that they do not
share their mistakes.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Recipe:
    """How one classifier is trained.

    Attributes:
        epochs: Passes over the pictures; meant for well under an hour on two cores.
        learning_rate: The peak of the cycle.
        share: The share of pictures that each perturbation changes.
        strengths: {perturbation: strength}, as `augmentation.augment` takes them.
        seed_offset: Added to the user's seed, so that no two recipes draw the same numbers.
    """

    epochs: int
    learning_rate: float
    share: float
    strengths: dict[str, float]
    seed_offset: int


RECIPES = {
    "resnet18": Recipe(
        epochs=10,
        learning_rate=1e-3,
        share=0.3,
        strengths={
            "flip": 0.5,
            "shift": 3.0,
            "lamp": 0.15,
            "brightness": 0.15,
            "contrast": 0.15,
            "saturation": 0.2,
            "tint": 0.04,
            "blur": 1.2,
            "resize": 0.5,
            "blotches": 0.04,
            "noise": 0.06,
        },
        seed_offset=0,
    ),
    "referee": Recipe(
        epochs=16,
        learning_rate=2e-3,
        share=0.4,
        strengths={
            "flip": 1.0,
            "shift": 4.0,
            "lamp": 0.2,
            "brightness": 0.2,
            "contrast": 0.2,
            "saturation": 0.25,
            "tint": 0.05,
            "blur": 1.0,
            "resize": 0.6,
            "blotches": 0.05,
            "noise": 0.08,
        },
        seed_offset=1000,
    ),
}

# Measured one at a time, on every held-out picture, at the same strengths for every classifier.
ROBUSTNESS_STRENGTHS = {
    "flip": 1.0,
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
