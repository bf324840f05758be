"""The parts of `gpu.py`, each in a process of its own: `python benchmarks/gpu_parts.py NAME OPTIONS-AS-JSON`.

The last line that a part prints is a JSON list of rows: what was measured, and its value.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median

import torch

from common import iclevr_preset
from lab_ddpm.cli import run
from lab_ddpm.data.conditions import every_label
from lab_ddpm.diffusion.sampling import image_seeds
from lab_ddpm.evaluation.intervals import as_text
from lab_ddpm.generation.checkpoint import open_pipeline
from lab_ddpm.generation.generate import generate
from lab_ddpm.tools.errors import UserError
from lab_ddpm.tools.weights import read_weights
from lab_ddpm.training.accelerator import make_accelerator
from lab_ddpm.training.config import TrainConfig
from lab_ddpm.training.cost import training_cost
from lab_ddpm.training.loop import train as train_run
from lab_ddpm.training.metrics_log import read_records
from lab_ddpm.training.state import newest_state
from lab_ddpm.training.stream import open_images
from lab_ddpm.training.trial import first_steps, trial_steps

Rows = list[tuple[str, str]]
_SCRIPTS = Path(__file__).parents[1] / "scripts"
_WITHOUT_SCORES = ["--evaluation.metric", "none", "--log_every_steps", "1"]


def main(arguments: list[str]) -> None:
    name, options = arguments
    print(json.dumps(PARTS[name](**json.loads(options))))


def machine() -> Rows:
    """Which GPU, and which PyTorch."""
    if not torch.cuda.is_available():
        return [("GPU", "none"), ("PyTorch", torch.__version__)]
    of = torch.cuda.get_device_properties(0)
    return [("GPU", f"{of.name}, {of.total_memory / 2**30:.0f} GiB"), ("PyTorch", torch.__version__)]


def speed(config: str, settings: Sequence[str], seconds: float) -> Rows:
    """Steps for so many seconds, after two that prepare: images a second, operations a second, memory."""
    preset = iclevr_preset(Path(config), *settings)
    accelerator = make_accelerator(preset)
    images = open_images(preset, accelerator)
    on_gpu = accelerator.device.type == "cuda"
    cost = training_cost(preset, images.labels, 3, 1, accelerator.mixed_precision, on_gpu)
    steps = trial_steps(preset, images, accelerator)
    first = next(steps)
    next(steps)
    times = first_steps(steps, seconds)
    rows = [
        ("speed", f"{preset.batch_size / median(times):.1f} images/s, {cost.flops / median(times) / 1e12:.3g} TFLOP/s"),
        ("first step", f"{first:.1f} s"),
    ]
    if on_gpu:
        used = torch.cuda.max_memory_allocated() / 2**30
        rows.append(("memory", f"{used:.2f} GiB, counted {cost.memory / 2**30:.2f} GiB"))
    return rows


def two(config: str, settings: Sequence[str], seconds: float) -> Rows:
    """`speed`, in two processes at once."""
    options = json.dumps({"config": config, "settings": settings, "seconds": seconds})
    command = [sys.executable, __file__, "speed", options]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    outputs = [process.communicate()[0] for process in both]
    return [(f"number {place}", json.loads(out.splitlines()[-1])[0][1]) for place, out in enumerate(outputs, 1)]


def train(config: str, settings: Sequence[str]) -> Rows:
    """A whole training."""
    preset = iclevr_preset(Path(config), *settings)
    started = time.monotonic()
    records = read_records(train_run(preset) / "metrics.jsonl")
    losses = [record for record in records if "loss" in record]
    return [
        ("time", f"{time.monotonic() - started:.0f} s, with the evaluation"),
        ("steps", f"{losses[-1]['step']} of {preset.batch_size} images, {preset.epochs} epochs"),
        ("loss", f"{losses[-1]['loss']:.4g}"),
    ]


def scores(checkpoint: str, out: str, seeds: int) -> Rows:
    """What the referee and the counter find on the lists that are reported; also draws the first of them."""
    folder = Path(out)
    _script("evaluate", "--checkpoint", checkpoint, "--num-seeds", str(seeds), "--out", str(folder / "evaluation"))
    _script("generate", "--checkpoint", checkpoint, "--split", "test", "--out", str(folder / "test"))
    found = json.loads((folder / "evaluation" / "metrics.json").read_text(encoding="utf-8"))
    return [
        row
        for split in found["splits"]
        for row in (
            (f"{split}, right (counter)", as_text(found["counted"][split]["right"], ".3f")),
            (f"{split}, micro (referee)", as_text(found["splits"][split]["referee"]["micro"], ".3f")),
        )
    ]


def sample(checkpoint: str, compiled: bool) -> Rows:
    """Seconds of 1 and of 64 images, the median of five after one that prepares."""
    pipeline = open_pipeline(checkpoint)
    if compiled:
        pipeline.denoiser.unet.compile()
    rows = []
    for count in (1, 64):
        times = []
        for seed in range(6):
            started = time.perf_counter()
            generate(pipeline, every_label(pipeline.denoiser.labels, count), image_seeds(seed, count))
            times.append(time.perf_counter() - started)
        rows.append((f"{count} at a time", f"{count / median(times[1:]):.1f} images/s"))
    return rows


def resume(config: str, settings: Sequence[str], out: str) -> Rows:
    """Two epochs, and the second of them again from the state between them: are the weights the same bit for bit?"""
    preset = _short(config, settings, 2, "--runs_dir", f"{out}/whole", "--name", "run")
    whole = train_run(preset)
    newest, resumed = newest_state(whole), Path(out) / "resumed" / "run"
    shutil.copytree(whole, resumed, symlinks=True)
    assert newest is not None
    shutil.rmtree(resumed / "states" / newest.name)
    train_run(_short(config, settings, 2, "--runs_dir", f"{out}/resumed", "--name", "run"))
    one, other = (read_weights(run / "states" / newest.name / "denoiser.safetensors") for run in (whole, resumed))
    worst = max(float((one[name].float() - other[name].float()).abs().max()) for name in one)
    return [("weights", "the same bit for bit" if worst == 0 else f"differ by at most {worst:.2g}")]


def half(config: str, settings: Sequence[str]) -> Rows:
    """Ten epochs in fp16: the loss falls, and the scaler has found its scale."""
    if not torch.cuda.is_available():
        raise UserError("`fp16` needs a GPU")
    folder = train_run(_short(config, settings, 10, "--mixed_precision", "fp16", "--name", "fp16"))
    losses = [record["loss"] for record in read_records(folder / "metrics.jsonl") if "loss" in record]
    newest = newest_state(folder)
    assert newest is not None
    scale = torch.load(newest / "training.pt", weights_only=True)["scaler"]["scale"]
    return [("loss", f"{losses[0]:.4g} at first, {losses[-1]:.4g} after {len(losses)} steps"), ("scale", f"{scale:g}")]


def _short(config: str, settings: Sequence[str], epochs: int, *options: str) -> TrainConfig:
    """A training of few epochs that is not scored, with a state after half of them."""
    preset = iclevr_preset(Path(config), *settings)
    count = len(list((Path(preset.data.root) / "images").iterdir()))
    steps = epochs * -(-count // preset.batch_size)
    period = ["--epochs", str(epochs), "--evaluation.every_epochs", str(epochs), "--save_every_steps", str(steps // 2)]
    return iclevr_preset(Path(config), *settings, *period, *_WITHOUT_SCORES, *options)


def _script(name: str, *arguments: str) -> None:
    subprocess.run([sys.executable, str(_SCRIPTS / f"{name}.py"), *arguments], check=True, stdout=subprocess.DEVNULL)


PARTS = {part.__name__: part for part in (machine, speed, two, train, scores, sample, resume, half)}

if __name__ == "__main__":
    sys.exit(run(main))
