"""Compare the speed of training and of sampling with other libraries: one network, the same images, one run.

    pip install '.[peers]'
    python benchmarks/peers.py

Everything is timed in turn, in several rounds. Machines are noisy, so only ratios within one round mean something.
All train in float32 and predict the noise. The bare loop has its batch in memory; the others read their own.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import dataclasses
import io
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import Any

import torch
from diffusers import DDPMPipeline, DDPMScheduler, UNet2DModel
from torch import nn

from common import as_ratio, images_per_second
from lab_ddpm.cli import run
from lab_ddpm.data.images import to_tensor
from lab_ddpm.data.open_dataset import open_training_images
from lab_ddpm.diffusion.pipeline import LabelConditionalPipeline
from lab_ddpm.iclevr.condition_lists import write_condition_lists
from lab_ddpm.iclevr.replica.replica import render_replica
from lab_ddpm.tools.errors import check_at_least
from lab_ddpm.tools.worker_pool import available_cores
from lab_ddpm.training.config_parser import make_config
from lab_ddpm.training.loop import train
from lab_ddpm.training.metrics_log import read_records
from lab_ddpm.training.model import seeded_denoiser

_SCENES = 40  # 120 images: lucidrains' trainer needs at least 100
_SIZE, _BATCH, _SAMPLES, _CALLS = 32, 32, 8, 20
_SETTINGS: dict[str, Any] = {
    "name": "peers",
    "batch_size": _BATCH,
    "mixed_precision": "no",
    "device": "cpu",
    "log_every_steps": 1,
    "save_every_steps": 10**9,
    "data": {"dataset": "folder", "image_size": _SIZE, "num_workers": 0, "conditional": False},
    "model": {
        "block_out_channels": [64, 128, 128],
        "layers_per_block": 1,
        "attention_levels": [2],
        "attention_head_dim": 64,
    },
    "optimizer": {"warmup_steps": 1, "ema_decay": 0.995},
    "sampling": {"steps": 1},
    "evaluation": {"metric": "none", "num_images": 1},
}


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=10, help="training steps of each library in a round (default: 10)")
    parser.add_argument("--rounds", type=int, default=5, help="all are timed in turn (default: 5)")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        write_condition_lists(folder)
        render_replica(folder, _SCENES, seed=0, workers=available_cores())
        print(*compare_speeds(Path(folder) / "images", options.steps, options.rounds), sep="\n")


def compare_speeds(images: Path, steps: int, rounds: int) -> list[str]:
    """Time everything `rounds` times in turn; returns the lines of the report.

    Args:
        images: A folder of at least 100 images.
        steps: Training steps of each library that are timed in a round, after one step that warms up.
        rounds: The report has the medians, and of the ratios in a round also the smallest and the largest.

    Raises:
        UserError: A number out of range.
    """
    check_at_least("steps", steps, 1)
    check_at_least("rounds", rounds, 1)
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):  # they print a lot
        peers = _Peers(images, Path(folder), steps)
        lines = [*_compare("training", peers.training(), rounds), *_compare("sampling", peers.sampling(), rounds)]
    if not find_spec("denoising_diffusion_pytorch"):
        lines.append("lucidrains' library is not installed: pip install 'lab_ddpm[peers]'")
    return lines


def _compare(what: str, runs: dict[str, Callable[[], float]], rounds: int) -> list[str]:
    """Call each, which returns images a second, once in every round; ours is the first."""
    rates = {name: [] for name in runs}
    for _ in range(rounds):
        for name, measure in runs.items():
            rates[name].append(measure())
    ours = next(iter(rates.values()))
    return [
        f"{what}, {name}: {median(others):.2f} images/s; "
        f"ours / this: {as_ratio([own / other for own, other in zip(ours, others, strict=True)])}"
        for name, others in rates.items()
    ]


class _Peers:
    """What is timed, each a call that returns images a second."""

    def __init__(self, images: Path, folder: Path, steps: int) -> None:
        self._images, self._folder, self._steps, self._runs = images, folder, steps, 0
        dataset = open_training_images("folder", self._images, _SIZE, conditional=False)
        settings = {**_SETTINGS, "epochs": -(-(steps + 1) * _BATCH // len(dataset)), "runs_dir": str(folder / "runs")}
        settings["data"] = {**_SETTINGS["data"], "root": str(self._images)}
        self._config = make_config(settings)
        self._denoiser = seeded_denoiser(self._config, dataset)
        self._batch = to_tensor(dataset.images[:_BATCH])

    def training(self) -> dict[str, Callable[[], float]]:
        """By library."""
        trainings = {"lab_ddpm": self._train_ours, "a bare PyTorch loop": self._bare_loop()}
        if find_spec("denoising_diffusion_pytorch"):
            trainings["lucidrains' Trainer"] = self._lucidrains_trainer()
        return trainings

    def sampling(self) -> dict[str, Callable[[], float]]:
        """By library."""
        unet = self._denoiser.eval().unet
        ours = LabelConditionalPipeline(self._denoiser, "ddpm")
        theirs = DDPMPipeline(unet, _scheduler())
        for pipeline in (ours, theirs):
            pipeline.set_progress_bar_config(disable=True)  # pyright: ignore[reportCallIssue]
        samplers: dict[str, Callable[[], object]] = {
            "lab_ddpm": lambda: ours(batch_size=_SAMPLES, num_inference_steps=_CALLS, seed=0),
            "diffusers' DDPMPipeline": lambda: theirs(batch_size=_SAMPLES, num_inference_steps=_CALLS),
        }
        if find_spec("denoising_diffusion_pytorch"):
            diffusion = _lucidrains_diffusion(unet)
            samplers["lucidrains' GaussianDiffusion"] = lambda: diffusion.sample(batch_size=_SAMPLES)
        return {name: lambda sample=sample: _SAMPLES / _seconds(sample) for name, sample in samplers.items()}

    def _train_ours(self) -> float:
        self._runs += 1
        folder = train(dataclasses.replace(self._config, name=f"run-{self._runs}"))
        return images_per_second(read_records(folder / "metrics.jsonl"), _BATCH)

    def _bare_loop(self) -> Callable[[], float]:
        """As in diffusers' tutorial on unconditional training, without reading images, Accelerate and averages."""
        unet, images = copy.deepcopy(self._denoiser.unet), self._batch
        scheduler = _scheduler()
        optimizer = torch.optim.AdamW(unet.parameters(), 1e-4)

        def step() -> None:
            noise, timesteps = torch.randn_like(images), torch.randint(0, 1000, (_BATCH,))
            noisy: Any = scheduler.add_noise(images, noise, timesteps)  # pyright: ignore[reportArgumentType]
            nn.functional.mse_loss(unet(noisy, timesteps).sample, noise).backward()
            nn.utils.clip_grad_norm_(unet.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()

        step()
        return lambda: _BATCH * self._steps / _seconds(lambda: [step() for _ in range(self._steps)])

    def _lucidrains_trainer(self) -> Callable[[], float]:
        from denoising_diffusion_pytorch import Trainer  # pyright: ignore[reportMissingImports]

        trainer = Trainer(
            _lucidrains_diffusion(copy.deepcopy(self._denoiser.unet)),
            self._images,
            train_batch_size=_BATCH,
            train_num_steps=1,
            save_and_sample_every=10**9,
            calculate_fid=False,
            results_folder=self._folder / "lucidrains",
        )
        trainer.train()

        def measure() -> float:
            trainer.train_num_steps += self._steps
            return _BATCH * self._steps / _seconds(trainer.train)

        return measure


def _scheduler() -> DDPMScheduler:
    return DDPMScheduler(1000, beta_schedule="squaredcos_cap_v2")


def _seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


class _AsLucidrains(nn.Module):
    """The network with the attributes and the call that lucidrains' library needs."""

    channels = out_dim = 3
    self_condition = False

    def __init__(self, unet: UNet2DModel) -> None:
        super().__init__()
        self.unet = unet

    def forward(self, noisy: torch.Tensor, timesteps: torch.Tensor, _: None) -> torch.Tensor:
        return self.unet(noisy, timesteps).sample


def _lucidrains_diffusion(unet: UNet2DModel) -> Any:
    from denoising_diffusion_pytorch import GaussianDiffusion  # pyright: ignore[reportMissingImports]

    options = {"objective": "pred_noise", "beta_schedule": "cosine"}
    return GaussianDiffusion(_AsLucidrains(unet), image_size=_SIZE, sampling_timesteps=_CALLS, **options)


if __name__ == "__main__":
    sys.exit(run(main))
