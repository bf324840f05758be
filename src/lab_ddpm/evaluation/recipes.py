"""How each classifier is trained.

The two classifiers of i-CLEVR differ in architecture, seed and augmentation, so that they do not make the same
mistakes. The recipe "images" is for all other data sets.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Recipe:
    """How one classifier is trained.

    Attributes:
        architecture: As in `classifiers.build_classifier`.
        epochs: The number of epochs. Each draws as many images as there are.
        learning_rate: The peak of the cycle.
        changes: {perturbation: (share of the images, strength)}, as `perturbations.perturb` takes them. Every i-CLEVR
            image is moved and half of them are mirrored, because a few thousand scenes show too few positions.
        seed_offset: Added to the user's seed, so that no two recipes draw the same random numbers.
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
        architecture="images",
        epochs=10,
        learning_rate=2e-3,
        changes={"shift": (1.0, 2.0)},
        seed_offset=2000,
    ),
}
