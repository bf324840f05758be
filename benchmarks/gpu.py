"""Measure a GPU in eight minutes, and train the recommended config on it for four of them.

    python benchmarks/gpu.py pack --root data/iclevr --out iclevr.zip      # where the images are
    python benchmarks/gpu.py run --data iclevr.zip --out measured          # where the GPU is

This writes measured/table.md, measured/runs/ (the training) and measured/test/ (its images of the list `test`). Each
part is a process with a time limit. If one fails, its row says why, and the next one starts. The training has the
fastest of the ways that were measured before it.

`--small` tries it all in a minute or two on a CPU, with tiny networks, and nothing compiled.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
import zipfile
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from common import markdown_table
from lab_ddpm.cli import run
from lab_ddpm.data.open_dataset import open_dataset
from lab_ddpm.iclevr.condition_lists import write_condition_lists
from lab_ddpm.tools.errors import UserError

REPORT, RECOMMENDED = Path("configs/iclevr.yaml"), Path("configs/iclevr_gpu.yaml")
WAYS = {
    "eager": [],
    "channels_last": ["--channels_last", "true"],
    "channels_last, compiled": ["--channels_last", "true", "--compile", "true"],
}
SMALL = [
    *("--data.image_size", "16", "--data.num_workers", "0", "--batch_size", "8", "--sampling.steps", "2"),
    *("--model.block_out_channels", "[32, 32]", "--model.layers_per_block", "1", "--model.attention_levels", "[1]"),
    *("--model.attention_head_dim", "8", "--optimizer.warmup_steps", "1"),
]
PARTS = Path(__file__).with_name("gpu_parts.py")
FEW = 256  # images of the parts that need no more
Row = tuple[str, str]


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser("pack", help="write the images of i-CLEVR at 64 x 64 into one file")
    command.add_argument("--root", type=Path, default=Path("data/iclevr"), help="default: data/iclevr")
    command.add_argument("--out", type=Path, default=Path("iclevr.zip"), help="default: iclevr.zip (59 MB)")
    command = commands.add_parser("run", help="measure")
    command.add_argument("--data", type=Path, required=True, help="the file that pack wrote")
    command.add_argument("--out", type=Path, default=Path("gpu"), help="default: gpu")
    command.add_argument("--minutes", type=float, default=8, help="in all; half of them train (default: 8)")
    command.add_argument("--small", action="store_true", help="try it on a CPU")
    options = parser.parse_args(arguments)
    if options.command == "pack":
        pack(options.root, options.out)
    else:
        Measurement(options.data, options.out, options.minutes, options.small).run()


def pack(root: Path, out: Path) -> None:
    """Write images of 64 x 64 and their masks as PNG files, and their labels, into a zip file."""
    images = open_dataset("iclevr", root, 64, with_masks=True)
    with zipfile.ZipFile(out, "w") as archive:
        archive.write(root / "train.json", "train.json")
        for name, image, mask in zip(images.names, images.images, np.asarray(images.masks)[..., 0], strict=True):
            for folder, pixels in (("images", image), ("masks", mask)):
                stream = BytesIO()
                Image.fromarray(pixels).save(stream, "png", optimize=True)
                archive.writestr(f"{folder}/{name}", stream.getvalue())
    print(f"wrote {len(images):,} images and masks to {out} ({out.stat().st_size / 1e6:.1f} MB)")


def unpack(file: Path, root: Path, most: int | None = None) -> int:
    """Write the images of `pack`, or the first of them, into a data set of i-CLEVR; returns their number."""
    try:
        with zipfile.ZipFile(file) as archive:
            labels = json.loads(archive.read("train.json"))
            names = sorted(labels)[:most]
            for folder in ("images", "masks"):
                archive.extractall(root, [f"{folder}/{name}" for name in names])
    except (OSError, KeyError, ValueError, zipfile.BadZipFile) as error:
        raise UserError(f"`--data` must be the file that `gpu.py pack` wrote, got {str(file)!r} ({error})") from None
    (root / "train.json").write_text(json.dumps({name: labels[name] for name in names}), encoding="utf-8")
    write_condition_lists(root)
    return len(names)


class Measurement:
    """The parts in their order, and the table.

    Args:
        data: The file of `pack`.
        out: A new folder to write to.
        minutes: Parts that would begin later are left out.
        small: Whether it is only a trial.
    """

    def __init__(self, data: Path, out: Path, minutes: float, small: bool) -> None:
        if out.exists():
            raise UserError(f"`--out` must be a new folder, got {str(out)!r}")
        self.out, self.small, self.rows = out, small, list[Row]()
        self.training = 0.1 if small else minutes / 2 * 60  # seconds
        self.end = time.monotonic() + minutes * 60
        self.settings = ["--runs_dir", str(out / "runs"), *(SMALL if small else [])]
        self.count = unpack(data, out / "data")
        unpack(data, out / "few", FEW)

    def run(self) -> None:
        self.part("this machine", "machine")
        speeds = self.speeds(RECOMMENDED)
        self.train(max(speeds, key=lambda way: speeds[way], default="eager"), max(speeds.values(), default=0.0))
        for way in self.ways:
            if way != "channels_last":
                checkpoint = str(self.out / "runs" / "iclevr-gpu" / "last")
                self.part(f"sampling, {way}", "sample", checkpoint=checkpoint, compiled="compiled" in way)
        few = {"config": str(RECOMMENDED), "settings": [*self.settings, "--data.root", str(self.out / "few")]}
        self.part("stopped and resumed", "resume", out=str(self.out / "resumed"), **few)
        self.part("fp16", "half", **few)
        self.part("two trainings at once", "two", seconds=self.seconds, **few)
        self.speeds(REPORT)

    @property
    def ways(self) -> list[str]:
        return [way for way in WAYS if not (self.small and "compiled" in way)]

    @property
    def seconds(self) -> float:
        return 0.5 if self.small else 5.0

    def speeds(self, config: Path) -> dict[str, float]:
        """Images a second of a config, for each way of computing that works."""
        found = {}
        for way in self.ways:
            settings = [*self.settings, "--data.root", str(self.out / "few"), *WAYS[way]]
            name = f"training `{config.stem}`, {way}"
            if rows := self.part(
                name, "speed", config=str(config), settings=settings, seconds=self.seconds, limit=300.0
            ):
                found[way] = float(rows[0][1].split()[0])
        return found

    def train(self, way: str, speed: float) -> None:
        """Train the recommended config as long as there is time for, score it, and draw the list `test`."""
        data = self.out / ("few" if self.small else "data")
        epochs = max(int(self.training * speed / self.count), 1)
        settings = [*self.settings, "--data.root", str(data), "--epochs", str(epochs), *WAYS[way]]
        settings += ["--evaluation.every_epochs", str(epochs)]
        trained = self.part(
            f"training of {self.training / 60:.0f} minutes, {way}",
            "train",
            limit=2 * self.training + 120,
            config=str(RECOMMENDED),
            settings=settings,
        )
        if trained:
            checkpoint = str(self.out / "runs" / "iclevr-gpu" / "last")
            self.part("its scores", "scores", checkpoint=checkpoint, out=str(self.out), seeds=1 if self.small else 4)

    def part(self, what: str, name: str, limit: float = 120.0, **options: Any) -> list[Row]:
        """Run a part, and add its rows to the table; returns them, or none if it failed."""
        rows: list[Row] = []
        if time.monotonic() > self.end:
            self.rows.append((what, "left out: no time"))
        else:
            command = [sys.executable, str(PARTS), name, json.dumps(options)]
            limit *= 5 if self.small else 1  # a CPU may be busy
            print(f"{what} ...", flush=True)
            try:
                done = subprocess.run(command, capture_output=True, text=True, timeout=limit, check=True)
                rows = [(key, value) for key, value in json.loads(done.stdout.splitlines()[-1])]
                self.rows += [(f"{what}: {key}", value) for key, value in rows]
            except subprocess.TimeoutExpired:
                self.rows.append((what, f"failed: took more than {limit:.0f} s"))
            except subprocess.CalledProcessError as error:
                self.rows.append((what, f"failed: {(error.stderr.strip() or 'no message').splitlines()[-1][:200]}"))
        table = markdown_table(("what", "measured"), self.rows)
        (self.out / "table.md").write_text(table, encoding="utf-8")
        return rows


if __name__ == "__main__":
    sys.exit(run(main))
