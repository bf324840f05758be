"""Measure how fast a large folder of images is read, and in how much memory, next to `datasets` and torchvision.

    python benchmarks/caching.py --count 200000

The folder has images of 500 sizes, in ten classes. (They are links to 500 JPEG files, so the disk is not measured.)

    lab_ddpm       the cache that a training needs, with checks and checksums; and the same from a cache that was killed
    datasets       `map` of an ImageFolder to 64 x 64, with a process for each core
    torchvision    one epoch of `ImageFolder` and a `DataLoader`, which decodes the images again in each epoch
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import psutil
from PIL import Image

from common import markdown_table
from lab_ddpm.cli import run
from lab_ddpm.tools.errors import check_at_least
from lab_ddpm.tools.worker_pool import available_cores

_SIZES, _CLASSES, _SIDE = 500, 10, 64
_PROGRAMS = {
    "lab_ddpm": "from lab_ddpm.data.image_folder import open_folder; n = len(open_folder(root, side))",
    "datasets": """
from datasets import load_dataset
def shrink(row):
    return {"image": row["image"].convert("RGB").resize((side, side), 2)}
n = len(load_dataset("imagefolder", data_dir=root, split="train").map(shrink, num_proc=cores))""",
    "torchvision": """
from torch.utils.data import DataLoader
from torchvision.datasets import ImageFolder
from torchvision.transforms import Compose, PILToTensor, Resize
images = ImageFolder(root, Compose([Resize((side, side)), PILToTensor()]))
n = sum(len(labels) for _, labels in DataLoader(images, 256, num_workers=cores))""",
}


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=20_000, help="images in the folder (default: 20000)")
    options = parser.parse_args(arguments)
    check_at_least("count", options.count, _SIZES)
    rows = []
    with tempfile.TemporaryDirectory(dir=".") as place:
        root = Path(place).resolve() / "images"
        write_images(root, options.count)
        for name, program in _PROGRAMS.items():
            seconds, memory = measure(program, root, options.count)
            rows.append([name, f"{options.count / seconds:.0f}", f"{memory / 2**20:.0f}"])
            shutil.rmtree(root / ".cache", ignore_errors=True)  # torchvision would take it for a class
            if name == "lab_ddpm":
                whole = seconds
                killed, _ = measure(program, root, options.count, kill_after=seconds / 2)
                rest, _ = measure(program, root, options.count)
                shutil.rmtree(root / ".cache")
    print(f"lab_ddpm, killed after {killed:.0f} s: the second start took {rest:.0f} s, a whole run {whole:.0f} s")
    print(markdown_table(["program", "images a second", "memory, MiB"], rows))


def write_images(root: Path, count: int) -> None:
    """`count` links to `_SIZES` images of as many sizes, from 80 to 640 pixels on a side."""
    random = np.random.default_rng(0)
    sources = root.parent / "sources"
    sources.mkdir()
    for index in range(_SIZES):
        coarse = Image.fromarray(random.integers(0, 256, (12, 16, 3), dtype=np.uint8))
        coarse.resize(tuple(random.integers(80, 640, 2))).save(sources / f"{index}.jpg", quality=90)
    for name in range(_CLASSES):
        (root / f"class{name}").mkdir(parents=True)
    for index in range(count):
        os.link(sources / f"{index % _SIZES}.jpg", root / f"class{index % _CLASSES}" / f"{index:07d}.jpg")


def measure(program: str, root: Path, count: int, kill_after: float = float("inf")) -> tuple[float, float]:
    """Run a program in a process of its own: its seconds, and the largest memory of it and its children in bytes."""
    setting = f"root, side, cores = {str(root)!r}, {_SIDE}, {available_cores()}\n"
    cache = {"HF_HOME": str(root.parent / "hub")}
    started, largest = time.perf_counter(), 0
    with subprocess.Popen(
        [sys.executable, "-c", f"{setting}{program}\nassert n == {count}"], env=os.environ | cache
    ) as process:
        while process.poll() is None:
            if time.perf_counter() - started > kill_after:
                process.kill()
            largest = max(largest, _memory(process.pid))
            time.sleep(0.2)
    assert process.returncode == 0 or kill_after < float("inf")
    return time.perf_counter() - started, largest


def _memory(process: int) -> int:
    """The memory of a process and its children, without pages that they share."""
    total = 0
    try:
        for one in (parent := psutil.Process(process), *parent.children(recursive=True)):
            total += one.memory_full_info().uss
    except psutil.Error:  # one of them has just ended
        pass
    return total


if __name__ == "__main__":
    sys.exit(run(main))
