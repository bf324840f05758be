"""`generate` and `interpolate`: from plain arguments to pictures, and a last line that says what was written where."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import cycle, islice
from pathlib import Path

import numpy as np
import torch
from accelerate import PartialState

from lab_ddpm.conditions import OBJECTS, Condition, check_condition, encode, load_conditions, read_json, resolve_split
from lab_ddpm.errors import UserError, check_at_least
from lab_ddpm.figures import DenoisingRecorder, interpolation_strip
from lab_ddpm.files import check_writable, remove, write_json
from lab_ddpm.generation import generate, picture_seeds
from lab_ddpm.images import Pictures, make_grid, read_picture, to_tensor, write_png
from lab_ddpm.interpolation import Mixing, Noise, interpolate_conditions, interpolate_pictures
from lab_ddpm.sampler import Sampler, open_sampler

_GRID_COLUMNS = 8
_DEFAULT_PICTURES = 64


def generate_command(
    split: str | None,
    objects: Sequence[str] | None,
    num_pictures: int | None,
    unconditional: bool,
    checkpoint: Path | None,
    scheduler: str,
    steps: int,
    guidance_scale: float | None,
    seed: int,
    out: Path | None,
    progress: bool,
    root: Path,
) -> int:
    """Sample pictures, and write them, a grid and a manifest.

    What is sampled: one picture per condition of `split`, or one of `objects`, or `num_pictures` of every label in
    turn; without any of the three, `test` for a model of i-CLEVR and 64 pictures for another one. `unconditional`
    samples `num_pictures` under the null label.
    """
    check_at_least("seed", seed, 0)
    if num_pictures is not None:
        check_at_least("num-pictures", num_pictures, 1)
    sampler = open_sampler(checkpoint, scheduler, steps, guidance_scale)
    if split is None and objects is None and num_pictures is None and not unconditional and sampler.labels == OBJECTS:
        split = "test"
    name, conditions = _wanted(sampler, split, objects, num_pictures or _DEFAULT_PICTURES, unconditional, root)
    out = out or Path("generated") / name
    check_writable(out)
    labelled = [condition for condition in conditions if condition]
    rows = encode(labelled, sampler.labels) if labelled else torch.zeros(len(conditions), len(sampler.labels))
    seeds = picture_seeds(seed, len(conditions))
    T = sampler.pipeline.scheduler.config["num_train_timesteps"]
    recorder = DenoisingRecorder(num_train_timesteps=T) if progress else None
    guidance = 1.0 if not labelled else sampler.guidance_scale
    pictures = generate(sampler.pipeline, rows, seeds, steps, guidance, progress="sampling", callback=recorder)
    if not PartialState().is_main_process:
        return 0
    _remove_previous(out)
    files = [f"{index:02d}.png" for index in range(len(conditions))]
    for file, picture in zip(files, pictures, strict=True):
        write_png(out / file, picture)
    write_png(out / "grid.png", make_grid(pictures, min(_GRID_COLUMNS, len(pictures))))
    common = {**sampler.settings(), "guidance_scale": guidance}
    entries = [
        {"file": file, "condition": list(condition), "seed": picture_seed, **common}
        for file, condition, picture_seed in zip(files, conditions, seeds, strict=True)
    ]
    write_json(out / "manifest.json", {"split": name, "pictures": entries})
    written = f"{len(pictures)} pictures, grid.png and manifest.json"
    if recorder is not None:
        recorder.write(out, conditions)
        written += ", strip.png and denoising.gif"
    print(f"wrote {written} to {out}/")
    return 0


def _wanted(
    sampler: Sampler,
    split: str | None,
    objects: Sequence[str] | None,
    num_pictures: int,
    unconditional: bool,
    root: Path,
) -> tuple[str, list[Condition]]:
    """The name of what is sampled, and a condition for each picture; empty conditions for the null label."""
    labels = sampler.labels
    if objects is not None:
        check_condition(objects, labels)
        return "objects", [tuple(objects)]
    if split is not None:
        if not labels:
            raise UserError(f"`split` needs a model with labels, and {sampler.checkpoint} is unconditional")
        return Path(split).stem, load_conditions(resolve_split(split, root), labels)
    if unconditional or not labels:
        return "unconditional", [()] * num_pictures
    return "labels", [(label,) for label in islice(cycle(labels), num_pictures)]


def _remove_previous(out: Path) -> None:
    """Remove the pictures of an earlier run in this folder, which a shorter list would leave behind."""
    manifest = read_json(out / "manifest.json") if (out / "manifest.json").is_file() else {}
    for picture in manifest.get("pictures", []) if isinstance(manifest, dict) else []:
        remove(out / Path(picture["file"]).name)


def interpolate_command(
    pictures: Sequence[Path] | None,
    conditions: Sequence[str] | None,
    checkpoint: Path | None,
    scheduler: str,
    steps: int,
    guidance_scale: float | None,
    timestep: int,
    count: int,
    mixing: Mixing,
    noise: Noise,
    seed: int,
    out: Path,
) -> int:
    """Interpolate between two pictures or two conditions; write the strip and the distances along it."""
    check_at_least("seed", seed, 0)
    check_writable(out)
    sampler = open_sampler(checkpoint, scheduler, steps, guidance_scale)
    pipeline, config = sampler.pipeline, sampler.pipeline.unet.config
    ends: list[Pictures] = []
    if conditions is not None:
        parsed = [[name.strip() for name in condition.split(",")] for condition in conditions]
        rows = encode(parsed, sampler.labels)
        walk = interpolate_conditions(pipeline, rows, steps, count, sampler.guidance_scale, seed)
        captions = [", ".join(condition) for condition in parsed]
    else:
        files = list(pictures or [])
        ends = [read_picture(file, config["sample_size"], "crop", config["in_channels"]) for file in files]
        rows = torch.zeros(2, len(sampler.labels))
        walk = interpolate_pictures(
            pipeline, to_tensor(np.stack(ends)), rows, timestep, steps, count, mixing, noise, seed=seed
        )
        captions = [file.name for file in files]
    write_png(out / "strip.png", interpolation_strip(walk, ends, captions))
    settings = {**sampler.settings(), "ends": captions, "seed": seed}
    if conditions is None:
        settings |= {"timestep": walk.timestep, "mixing": mixing, "noise": noise, "guidance_scale": 1.0}
    distances = {"lambdas": walk.lambdas.tolist(), "distances": walk.distances().tolist()}
    write_json(out / "interpolation.json", {**settings, **distances})
    print(f"wrote strip.png and interpolation.json to {out}/")
    return 0
