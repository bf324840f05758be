"""What a training needs, against what PyTorch counts while one step really runs."""

from __future__ import annotations

from itertools import accumulate
from pathlib import Path

import pytest
from torch.profiler import profile
from torch.utils.flop_counter import FlopCounterMode

from conftest import tiny_config
from lab_ddpm.data.image_dataset import ImageDataset
from lab_ddpm.data.open_dataset import open_training_images
from lab_ddpm.training.accelerator import make_accelerator
from lab_ddpm.training.config import TrainConfig
from lab_ddpm.training.cost import training_cost
from lab_ddpm.training.trial import trial_steps

SETTINGS = {
    "report": {},
    "patches": {
        "model__patch_size": 2,
        "model__layout_scale": 2.0,
        "model__prediction_type": "sample",
        "model__detail_channels": (8, 16),
        "optimizer__name": "muon",
        "optimizer__ema_decay": 0.9,
    },
}


def opened(root: Path, **settings: object) -> tuple[TrainConfig, ImageDataset]:
    config = tiny_config(root, batch_size=16, **settings)
    return config, open_training_images("iclevr", root / "data", 16, True, config.model["layout_scale"] > 0)


@pytest.mark.parametrize(("name", "count"), [("report", 1), ("patches", 2)])
def test_operations_and_memory_are_those_of_a_real_step(name: str, count: int, tiny_dataset: Path) -> None:
    config, images = opened(tiny_dataset.parent, gradient_accumulation_steps=count, **SETTINGS[name])
    steps = trial_steps(config, images, make_accelerator(config))
    with profile(profile_memory=True) as profiled:
        next(steps)  # the first one creates the state of the optimizer
        with FlopCounterMode(display=False) as counter:
            next(steps)
    events = profiled.profiler.kineto_results.events()  # pyright: ignore
    peak = max(accumulate(event.nbytes() for event in events if event.name() == "[memory]"))
    cost = training_cost(config, images.labels, 3, count, "no", on_gpu=False)
    assert cost.flops == counter.get_total_flops()
    assert cost.memory == pytest.approx(peak, rel=0.25)


def test_a_gpu_keeps_more_in_half_precision_than_a_cpu(tiny_dataset: Path) -> None:
    config, images = opened(tiny_dataset.parent)
    gpu, cpu = (training_cost(config, images.labels, 3, 1, "bf16", on_gpu) for on_gpu in (True, False))
    assert gpu.memory > cpu.memory
    assert gpu.flops == cpu.flops
