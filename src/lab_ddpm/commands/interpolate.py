"""`interpolate`: a walk between two pictures or two conditions, as a strip and its distances."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from lab_ddpm.conditions import encode, parse_condition
from lab_ddpm.errors import UserError, check_at_least
from lab_ddpm.figures import interpolation_strip
from lab_ddpm.files import check_writable, write_json
from lab_ddpm.images import Pictures, read_picture, to_tensor, write_png
from lab_ddpm.interpolation import Mixing, Noise, interpolate_conditions, interpolate_pictures
from lab_ddpm.sampler import open_sampler

_DEFAULT_TIMESTEP = 500


def run(
    pictures: Sequence[Path] | None,
    conditions: Sequence[str] | None,
    checkpoint: Path | None,
    scheduler: str,
    steps: int,
    guidance_scale: float | None,
    timestep: int | None,
    count: int,
    mixing: Mixing | None,
    noise: Noise | None,
    seed: int,
    out: Path,
) -> int:
    """Interpolate between two pictures or two conditions; write the strip and the distances along it.

    `timestep` (500), `mixing` ("linear") and `noise` ("shared") are for pictures, which are decoded under no condition.
    """
    check_at_least("seed", seed, 0)
    check_writable(out)
    if conditions is not None and (timestep, mixing, noise) != (None, None, None):
        raise UserError("`--timestep`, `--mixing` and `--noise` are for `--pictures`: conditions start from pure noise")
    sampler = open_sampler(checkpoint, scheduler, steps, guidance_scale)
    pipeline, config = sampler.pipeline, sampler.pipeline.unet.config
    ends: list[Pictures] = []
    if conditions is not None:
        parsed = [parse_condition(condition, sampler.labels) for condition in conditions]
        rows = encode(parsed, sampler.labels)
        walk = interpolate_conditions(pipeline, rows, steps, count, sampler.guidance_scale, seed, progress="denoising")
        captions = [", ".join(condition) for condition in parsed]
    else:
        files = list(pictures or [])
        fit: str = pipeline.config["fit"]
        ends = [read_picture(file, config["sample_size"], fit, config["in_channels"]) for file in files]
        rows = torch.zeros(2, len(sampler.labels))
        guidance = sampler.unguided()
        timestep = _DEFAULT_TIMESTEP if timestep is None else timestep
        mixing, noise = mixing or "linear", noise or "shared"
        walk = interpolate_pictures(
            pipeline,
            to_tensor(np.stack(ends)),
            rows,
            timestep,
            steps,
            count,
            mixing,
            noise,
            guidance,
            seed,
            progress="denoising",
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
