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
    from lab_ddpm.diffusion.denoiser import Denoiser, Loss
    from lab_ddpm.diffusion.pipeline import LabelConditionalPipeline
    from lab_ddpm.diffusion.schedulers import make_scheduler
    from lab_ddpm.evaluation.score import score
    from lab_ddpm.generation.sampler import Sampler, Samples

__all__ = ["Denoiser", "LabelConditionalPipeline", "Loss", "Sampler", "Samples", "make_scheduler", "score"]

_HOMES = {
    "Denoiser": "diffusion.denoiser",
    "LabelConditionalPipeline": "diffusion.pipeline",
    "Loss": "diffusion.denoiser",
    "Sampler": "sampling.sampler",
    "Samples": "sampling.sampler",
    "make_scheduler": "diffusion.schedulers",
    "score": "evaluation.score",
}


def __getattr__(name: str) -> Any:
    """Import what is used, and only then: `lab-ddpm --help` shall not wait for torch."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
