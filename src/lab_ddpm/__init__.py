"""Small, label-conditional diffusion models on diffusers and Accelerate.

from lab_ddpm import LabelConditionalPipeline, score

pipe = LabelConditionalPipeline.from_pretrained("pretrained/iclevr-cpu")
images = pipe(["red cube, cyan sphere", "gray cylinder"], seed=0).images
print(score(images, ["red cube, cyan sphere", "gray cylinder"]))
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lab_ddpm.diffusion.denoiser import Denoiser
    from lab_ddpm.diffusion.loss import DenoisingLoss
    from lab_ddpm.diffusion.pipeline import LabelConditionalPipeline
    from lab_ddpm.diffusion.sampling import Sampling, image_seeds, sample
    from lab_ddpm.diffusion.schedulers import make_scheduler
    from lab_ddpm.evaluation.scores import score
    from lab_ddpm.generation.checkpoint import open_pipeline
    from lab_ddpm.generation.editing import add_object, move_object, remove_object, replace_object
    from lab_ddpm.generation.generate import generate
    from lab_ddpm.generation.placing import Place, draw_places, generate_placed

__all__ = [
    "Denoiser",
    "DenoisingLoss",
    "LabelConditionalPipeline",
    "Place",
    "Sampling",
    "add_object",
    "draw_places",
    "generate",
    "generate_placed",
    "image_seeds",
    "make_scheduler",
    "move_object",
    "open_pipeline",
    "remove_object",
    "replace_object",
    "sample",
    "score",
]

_HOMES = {
    "Denoiser": "diffusion.denoiser",
    "DenoisingLoss": "diffusion.loss",
    "LabelConditionalPipeline": "diffusion.pipeline",
    "Place": "generation.placing",
    "Sampling": "diffusion.sampling",
    "add_object": "generation.editing",
    "draw_places": "generation.placing",
    "generate": "generation.generate",
    "generate_placed": "generation.placing",
    "image_seeds": "diffusion.sampling",
    "make_scheduler": "diffusion.schedulers",
    "move_object": "generation.editing",
    "open_pipeline": "generation.checkpoint",
    "remove_object": "generation.editing",
    "replace_object": "generation.editing",
    "sample": "diffusion.sampling",
    "score": "evaluation.scores",
}


def __getattr__(name: str) -> Any:
    """Import a name when it is first used: `lab-ddpm --help` must not wait for torch."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
