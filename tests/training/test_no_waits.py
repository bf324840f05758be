"""Nothing in a step of training or sampling makes a GPU wait."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from conftest import tiny_arguments, tiny_denoiser
from lab_ddpm.cli import main
from lab_ddpm.data.batches import Batch, BatchMaker
from lab_ddpm.data.iclevr import OBJECTS
from lab_ddpm.data.image_dataset import ImageDataset
from lab_ddpm.diffusion.loss import DenoisingLoss
from lab_ddpm.diffusion.places import Places
from lab_ddpm.diffusion.sampling import FINISHED, Sampling, sample
from lab_ddpm.diffusion.scheduler_names import SCHEDULERS
from lab_ddpm.training.log import TrainingLog
from no_waits import NoWaits

MODEL: dict[str, Any] = {  # with everything switched on
    "patch_size": 2,
    "layout_scale": 2.0,
    "detail_channels": (8, 16),
    "prediction_type": "sample",
    "condition_dropout": 0.2,
    "layout_dropout": 0.2,
    "places_dropout": 0.3,
}


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_no_step_of_a_run_reads_a_value(
    tiny_dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, optimizer: str
) -> None:
    """From the bytes of the images to the average of the weights; between two lines of the log."""
    make_batch, step_done, step, steps = BatchMaker.__call__, TrainingLog.step_done, ExitStack(), 0

    def begin(self: BatchMaker, samples: Sequence[torch.Tensor]) -> Batch:
        step.enter_context(NoWaits("cpu"))
        return make_batch(self, samples)

    def end(self: TrainingLog, learning_rate: float) -> None:
        nonlocal steps
        step.close()
        steps += 1
        step_done(self, learning_rate)

    monkeypatch.setattr(BatchMaker, "__call__", begin)
    monkeypatch.setattr(TrainingLog, "step_done", end)
    arguments = tiny_arguments(
        tmp_path,
        **{f"model__{name}": value for name, value in MODEL.items()},
        data__random_flip=True,
        loss__weight="clamped_snr",
        optimizer__name=optimizer,
        optimizer__ema_decay=0.9,
        log_every_steps=100,
        evaluation__metric="none",
    )
    with step:
        assert main(["train", *arguments]) == 0
    assert steps == 6


@pytest.mark.parametrize("prediction_type", ["sample", "epsilon", "v_prediction"])
def test_the_loss_sends_nothing_to_a_gpu_and_takes_nothing_from_it(prediction_type: str) -> None:
    """Where the GPU holds the images."""
    share = 0.0 if prediction_type == "sample" else 0.1  # of augmentation, which models with a layout do without
    other = {"prediction_type": prediction_type, "condition_dropout": 0.2, "augmentation": share}
    model = MODEL if prediction_type == "sample" else other
    denoiser = tiny_denoiser(labels=OBJECTS, **model).to("meta")
    images = np.zeros((8, 16, 16, 3), np.uint8)
    dataset = ImageDataset([], images, torch.eye(8, len(OBJECTS)), OBJECTS, "squash", "content", images[..., :1])
    make_batch = BatchMaker(dataset, 0, denoiser.space.shape, True, share, torch.device("meta"))
    samples, loss = torch.zeros(2, 4, dtype=torch.long, device="meta"), DenoisingLoss(weight="clamped_snr")
    loss(denoiser, make_batch(samples.unbind()))  # the first step sends the noise levels
    with NoWaits("meta"):
        sum(loss(denoiser, make_batch(samples.unbind())).values()).backward()  # pyright: ignore


@pytest.mark.parametrize(
    ("scheduler", "guidance_scale"), [("ddim", 1.0), *((name, 2.0) for name in SCHEDULERS if name != "unipc")]
)
def test_no_denoising_step_takes_anything_from_a_gpu(scheduler: str, guidance_scale: float) -> None:
    """Samplers that add noise send it. "unipc" solves two equations on the GPU, and waits for their solution."""
    denoiser = tiny_denoiser(labels=OBJECTS, **MODEL).to("meta")
    rows, places = torch.eye(24)[:2], Places(torch.tensor([[1], [2]]), torch.full((2, 1, 2), 8.0))
    visited: list[int] = []
    with ExitStack() as steps:

        def on_state(timestep: int, samples: torch.Tensor) -> None:
            if not visited:
                steps.enter_context(NoWaits("meta", sends=True))
            visited.append(timestep)

        sample(denoiser, rows, [0, 1], Sampling(scheduler, 3, guidance_scale), on_state=on_state, places=places)
    assert len(visited) > 3
    assert visited[-1] == FINISHED


@pytest.mark.parametrize("wait", [lambda x: x.sum().item(), lambda x: x[x > 0], lambda x: x.nonzero()])
def test_what_makes_a_gpu_wait_is_noticed(wait: Callable[[torch.Tensor], Any]) -> None:
    with NoWaits("cpu"), pytest.raises(AssertionError, match="wait"):
        wait(torch.ones(2))
