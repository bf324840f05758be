"""What the tests share: a run, a data set and a pipeline small enough for a second on two cores."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import settings
from PIL import Image, ImageDraw

from lab_ddpm.data.iclevr import OBJECTS, SHAPES

if TYPE_CHECKING:  # torch is imported by the tests that need it
    import torch

    from lab_ddpm.data.batches import Batch
    from lab_ddpm.diffusion.denoiser import Denoiser
    from lab_ddpm.diffusion.pipeline import LabelConditionalPipeline
    from lab_ddpm.training.config import TrainConfig

# The same examples in every run, however slow the machine is.
settings.register_profile("repeatable", deadline=None, derandomize=True)
settings.load_profile("repeatable")

TINY_RUN = {
    "name": "tiny",
    "epochs": 1,
    "batch_size": 4,
    "device": "cpu",
    "mixed_precision": "no",  # bf16, where a CPU has it, would hide differences behind its rounding
    "save_every_steps": 2,
    "log_every_steps": 1,
    "data.image_size": 16,
    "data.num_scenes": 1,
    "model.block_out_channels": (32, 64),
    "model.layers_per_block": 1,
    "model.attention_levels": (1,),
    "optimizer.warmup_steps": 2,
    "sampling.steps": 2,
    "data.num_workers": 0,
}

# Before a script: two processes of it. (`accelerate launch --cpu` starts one, however many are asked for.)
LAUNCH_TWO = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]


def tiny_arguments(tmp_path: Path, **overrides: Any) -> list[str]:
    """Command line of a training run on the images of `tiny_dataset`, 6 steps of 4 images at 16 x 16.

    Args:
        tmp_path: Holds `data/` (the data set) and `runs/`.
        overrides: Settings by dotted key with `__` for the dot, e.g. `loss__name="l1"`.
    """
    chosen = {key.replace("__", "."): value for key, value in overrides.items()}
    values = {"data.root": tmp_path / "data", "runs_dir": tmp_path / "runs", **TINY_RUN, **chosen}
    arguments = []
    for key, value in values.items():
        arguments += [f"--{key}", str(list(value) if isinstance(value, tuple) else value)]
    return arguments


def tiny_config(tmp_path: Path, **overrides: Any) -> TrainConfig:
    """The configuration that `tiny_arguments` is the command line of."""
    from lab_ddpm.training.config_parser import parse_config

    return parse_config(tiny_arguments(tmp_path, **overrides))


@pytest.fixture(scope="session")
def dataset_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """7 scenes of three images, their labels and masks, and the condition lists: do not change it."""
    from lab_ddpm.iclevr.condition_lists import write_condition_lists

    root = tmp_path_factory.mktemp("template")
    (root / "images").mkdir()
    (root / "masks").mkdir()
    random = np.random.default_rng(0)
    labels: dict[str, list[str]] = {}
    for scene in range(7):
        objects = [OBJECTS[index] for index in random.choice(len(OBJECTS), size=3, replace=False)]
        for step in range(3):
            name = f"CLEVR_train_{scene:06d}_{step}.png"
            labels[name] = objects[: step + 1]
            image, mask = _draw(labels[name])
            image.save(root / "images" / name)
            mask.save(root / "masks" / name)
    (root / "train.json").write_text(json.dumps(labels), encoding="utf-8")
    write_condition_lists(root)
    return root


@pytest.fixture
def tiny_dataset(dataset_template: Path, tmp_path: Path) -> Path:
    """`tmp_path/data`: 21 images of 32 x 24, train.json and the condition lists, to be read or broken."""
    return shutil.copytree(dataset_template, tmp_path / "data")


@pytest.fixture
def tiny_pipeline() -> LabelConditionalPipeline:
    """A random model of 16 x 16 images of the 24 objects, on the noise schedule of the report."""
    from lab_ddpm.diffusion.pipeline import LabelConditionalPipeline

    return LabelConditionalPipeline(tiny_denoiser(labels=OBJECTS), "ddim")


def tiny_denoiser(**settings: Any) -> Denoiser:
    """A model of 16 x 16 images that has been trained with condition dropout, always with the same random weights."""
    import torch

    from lab_ddpm.diffusion.denoiser import Denoiser

    torch.manual_seed(0)
    small: dict[str, Any] = {
        "sample_size": 16,
        "block_out_channels": (32, 64),
        "layers_per_block": 1,
        "attention_levels": (1,),
        "condition_dropout": 0.1 if settings.get("labels") else 0.0,
    }
    return Denoiser(**(small | settings)).eval()


def tiny_batch(denoiser: Denoiser, clean_images: torch.Tensor, **given: Any) -> Batch:
    """Training samples of some images. What is not given is zero, or random but always the same; nothing is dropped."""
    import torch

    count, space = len(clean_images), denoiser.space
    batch: Batch = {
        "positions": torch.arange(count),
        "clean_images": clean_images,
        "masks": torch.zeros(count, 1, *space.sample_size, dtype=torch.uint8),
        "class_labels": torch.zeros(count, space.num_labels),
        "augment_labels": torch.zeros(count, 0),
        "most_labels": space.num_labels,
        "noise": torch.randn(count, *space.shape, generator=torch.Generator().manual_seed(0)),
        "uniforms": torch.full((count, 5), 0.5),
        "place_uniforms": torch.full((count, space.num_labels + 1), 0.5),
    }
    return {**batch, **given}  # pyright: ignore[reportReturnType]


def save_tiny_pipeline(path: str | Path, channels: int, labels: tuple[str, ...] = (), **settings: Any) -> Path:
    """Write a random pipeline for 32 x 32 images."""
    import torch

    from lab_ddpm.diffusion.pipeline import LabelConditionalPipeline

    denoiser = tiny_denoiser(labels=labels, in_channels=channels, sample_size=32, **settings)
    if denoiser.detailer is not None:  # which begins with zeros
        torch.nn.init.normal_(denoiser.detailer.conv_out.weight)
    LabelConditionalPipeline(denoiser, "ddim").save_pretrained(path)
    return Path(path)


def save_random_classifiers(folder: str | Path = "evaluator", names: tuple[str, ...] = ()) -> None:
    """Write untrained classifiers of the 24 objects, by default all, into `folder`."""
    from lab_ddpm.evaluation.classifiers import CLASSIFIERS, build_classifier, save_classifier

    for name in names or CLASSIFIERS:
        save_classifier(build_classifier(name, len(OBJECTS)), name, folder, OBJECTS)


def _draw(objects: list[str]) -> tuple[Image.Image, Image.Image]:
    image, mask = Image.new("RGB", (32, 24), "lightgray"), Image.new("L", (32, 24))
    for position, name in enumerate(objects):
        colour, shape = name.split()
        box = (1 + 10 * position, 8, 9 + 10 * position, 16)
        for canvas, fill in ((image, colour), (mask, OBJECTS.index(name) + 1)):
            pen = ImageDraw.Draw(canvas)
            draw = (pen.rectangle, pen.ellipse, pen.rounded_rectangle)[SHAPES.index(shape)]
            draw(box, fill=fill)
    return image, mask
