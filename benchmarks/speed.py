"""Measure rendering, reading, training and sampling on this machine.

    python benchmarks/speed.py

Machines differ, and are noisy: compare figures of one run with each other, rather than with figures of another run.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from common import iclevr_preset, images_per_second
from lab_ddpm.arguments import add_checkpoint
from lab_ddpm.cli import run
from lab_ddpm.data.conditions import every_label
from lab_ddpm.data.iclevr import OBJECTS
from lab_ddpm.data.images import read_image, to_tensor
from lab_ddpm.data.labelled_images import open_labelled_images
from lab_ddpm.diffusion.pipeline import LabelConditionalPipeline
from lab_ddpm.diffusion.sampling import image_seeds
from lab_ddpm.generation.checkpoint import open_pipeline
from lab_ddpm.generation.generate import generate
from lab_ddpm.iclevr.condition_lists import write_condition_lists
from lab_ddpm.iclevr.replica.replica import render_replica
from lab_ddpm.tools.errors import check_at_least
from lab_ddpm.tools.worker_pool import available_cores
from lab_ddpm.training.config import TrainConfig
from lab_ddpm.training.loop import train
from lab_ddpm.training.metrics_log import read_records

SCENES = 32
SECONDS = 5.0  # for each way of reading
PRESETS = [Path("configs/iclevr_cpu.yaml"), Path("configs/iclevr.yaml")]


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = ", ".join(map(str, PRESETS))
    parser.add_argument(
        "--configs", nargs="+", type=Path, default=PRESETS, help=f"presets of i-CLEVR to train (default: {names})"
    )
    parser.add_argument("--steps", type=int, default=10, help="training steps of each preset (default: 10)")
    add_checkpoint(parser)
    options = parser.parse_args(arguments)
    check_at_least("steps", options.steps, 1)
    presets = [iclevr_preset(config) for config in options.configs]
    pipeline = open_pipeline(options.checkpoint, runtime="torch")
    workers = available_cores()
    print(f"{workers} cores, {torch.get_num_threads()} torch threads")
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "data"
        print(rendering(root, workers))
        print(reading(root))
        for preset in presets:
            print(training(preset, root, Path(folder), options.steps), flush=True)
    print(sampling(pipeline))


def rendering(root: Path, workers: int) -> str:
    write_condition_lists(root)
    started, images = time.perf_counter(), 3 * SCENES
    render_replica(root, SCENES, seed=0, workers=workers)
    return f"render: {(time.perf_counter() - started) / images:.3f} s an image ({images} images)"


def reading(root: Path) -> str:
    dataset = open_labelled_images(root, 64, OBJECTS)
    paths = [root / "images" / name for name in dataset.names]
    decoding = _rate(lambda index: read_image(paths[index], 64), len(paths))
    cached = _rate(lambda index: to_tensor(dataset.images[index]), len(paths))
    return (
        f"reading: {decoding:.0f} images/s decoded, {cached:.0f} images/s from the cache "
        f"({cached / decoding:.0f} x), one thread"
    )


def _rate(read: Callable[[int], object], count: int) -> float:
    """Calls per second, over random indices."""
    random = np.random.default_rng(0)
    started, calls = time.perf_counter(), 0
    while time.perf_counter() - started < SECONDS:
        read(int(random.integers(count)))
        calls += 1
    return calls / (time.perf_counter() - started)


def training(preset: TrainConfig, root: Path, folder: Path, steps: int) -> str:
    """Train `steps` + 1 steps of a preset (the first warms up), and evaluate on one image."""
    one_condition = folder / "one.json"
    one_condition.write_text(json.dumps([["red cube"]]), encoding="utf-8")
    epochs = -(-(steps + 1) * preset.batch_size // (3 * SCENES))
    config = dataclasses.replace(
        preset,
        runs_dir=str(folder / "runs"),
        epochs=epochs,
        log_every_steps=1,
        save_every_steps=10**9,
        data=dataclasses.replace(preset.data, root=str(root)),
        sampling={**preset.sampling, "steps": 1},
        evaluation=dataclasses.replace(preset.evaluation, every_epochs=epochs, split=str(one_condition)),
    )
    records = read_records(train(config) / "metrics.jsonl")
    last = [record for record in records if "loss" in record][-1]
    return (
        f"train {preset.name}: {images_per_second(records, config.batch_size):.2f} images/s, "
        f"{100 * last['overhead']:.1f} % of the time outside forward, backward and optimizer "
        f"({last['step']} steps of {config.batch_size})"
    )


def sampling(pipeline: LabelConditionalPipeline) -> str:
    """DDPM with all its steps against DDIM with 50, on the same two images."""
    conditions = every_label(pipeline.denoiser.labels, 2)
    all_steps = pipeline.denoiser.config["num_train_timesteps"]
    seconds = {}
    for name, steps in (("ddim", 50), ("ddpm", all_steps)):
        started = time.perf_counter()
        generate(pipeline.with_sampling(name, steps), conditions, image_seeds(0, len(conditions)), progress=name)
        seconds[name] = (time.perf_counter() - started) / len(conditions)
    return (
        f"sample: ddpm-{all_steps} {seconds['ddpm']:.2f} s an image, "
        f"ddim-50 {seconds['ddim']:.2f} s an image ({seconds['ddpm'] / seconds['ddim']:.1f} x)"
    )


if __name__ == "__main__":
    sys.exit(run(main))
