"""How evenly images change along lambda, measured over many pairs of held-out images.

For each way of interpolating, each pair gives a walk of `COUNT` images and its `COUNT` - 1 distances between
neighbours. Over the pairs:

    jump     largest distance / mean distance of a walk: 1 for an even walk, `COUNT` - 1 for one single jump
    detour   sum of the distances / distance of the two ends: 1 for a straight line
    error    root mean square difference between a source and its reconstruction at its end
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm.auto import tqdm

from lab_ddpm.data.images import Images, to_tensor, write_png
from lab_ddpm.diffusion.pipeline import LabelConditionalPipeline
from lab_ddpm.drawing.charts import distance_curves
from lab_ddpm.drawing.figures import interpolation_strip
from lab_ddpm.evaluation.intervals import as_text, mean_interval
from lab_ddpm.generation.interpolation import Mixing, Noise, distance, interpolate_images
from lab_ddpm.generation.sampler import Sampler
from lab_ddpm.tools.errors import UserError, check_at_least
from lab_ddpm.tools.files import check_writable, write_bytes, write_json, write_text
from lab_ddpm.tools.tables import markdown_table

COUNT = 10
_TIMESTEPS = (249, 499, 749)  # noise levels that both samplers visit
_STEPS = {"ddpm": 200, "ddim": 40}


@dataclass(frozen=True)
class Way:
    """One way of interpolating."""

    title: str
    scheduler: str
    noise: Noise
    mixing: Mixing
    one_step: bool = False


WAYS = (
    Way("shared noise, linear", "ddpm", "shared", "linear"),
    Way("shared noise, spherical", "ddpm", "shared", "spherical"),
    Way("own noise, linear", "ddpm", "own", "linear"),
    Way("own noise, spherical", "ddpm", "own", "spherical"),
    Way("fresh noise, linear", "ddpm", "fresh", "linear"),
    Way("shared noise, linear, DDIM decodes", "ddim", "shared", "linear"),
    Way("shared noise, linear, mean of the posterior", "ddim", "shared", "linear", one_step=True),
    Way("DDIM inversion, linear", "ddim", "inverted", "linear"),
    Way("DDIM inversion, spherical", "ddim", "inverted", "spherical"),
)


def study_interpolation(images: Images, pipeline: LabelConditionalPipeline, num_pairs: int, out: Path) -> Path:
    """Measure every way at every timestep; write `table.md`, `table.json`, `distances.png` and a strip of each way.

    Args:
        images: (N, H, W, C) uint8, of which pairs are drawn; held-out ones.
        pipeline: It decodes under the null label.
        num_pairs: Pairs.
        out: Where the files go.

    Returns:
        The table.

    Raises:
        UserError: More pairs than images allow, or none.
    """
    check_at_least("num-pairs", num_pairs, 1)
    if 2 * num_pairs > len(images):
        raise UserError(f"`num-pairs` must be at most {len(images) // 2} for {len(images)} images, got {num_pairs}")
    check_writable(out)
    pairs = np.random.default_rng(0).permutation(len(images))[: 2 * num_pairs].reshape(num_pairs, 2)
    rows: list[dict[str, Any]] = []
    curves: dict[str, dict[str, list[float]]] = {f"t = {timestep}": {} for timestep in _TIMESTEPS}
    progress = tqdm(total=len(_TIMESTEPS) * len(WAYS) * num_pairs, desc="interpolating", unit="walk")
    for timestep in _TIMESTEPS:
        for way in WAYS:
            sampler = Sampler(pipeline, way.scheduler, _STEPS[way.scheduler])
            distances, errors = [], []
            for number, pair in enumerate(pairs):
                ends: Images = images[pair]
                walk = interpolate_images(
                    sampler,
                    to_tensor(ends),
                    timestep=timestep,
                    count=COUNT,
                    mixing=way.mixing,
                    noise=way.noise,
                    seed=number,
                    one_step=way.one_step,
                )
                distances.append(torch.cat([walk.distances(), distance(walk.images[:1], walk.images[-1:])]))
                errors.append(distance(walk.images[[0, -1]], to_tensor(ends)).mean())
                if number == 0:
                    name = f"{way.title.replace(', ', '-').replace(' ', '-').lower()}-{timestep}.png"
                    write_png(out / name, interpolation_strip(walk, list(ends), ["source", "source"]))
                progress.update()
            every = torch.stack(distances)
            along, across = every[:, :-1], every[:, -1]
            measures = {
                "jump": along.amax(dim=1) / along.mean(dim=1),
                "detour": along.sum(dim=1) / across,
                "error": torch.stack(errors),
            }
            intervals = {name: mean_interval(values.tolist()) for name, values in measures.items()}
            rows.append({"t": timestep, "way": way.title, **intervals})
            curves[f"t = {timestep}"][way.title] = along.mean(dim=0).tolist()
    write_json(out / "table.json", {"num_pairs": num_pairs, "count": COUNT, "rows": rows, "distances": curves})
    write_text(out / "table.md", _table(rows))
    write_bytes(out / "distances.png", distance_curves(curves, "lambda", "distance of neighbours"))
    return out / "table.md"


def _table(rows: list[dict[str, Any]]) -> str:
    measures = ("jump", "detour", "error")
    cells = [[row["t"], row["way"], *(as_text(row[measure], ".3f") for measure in measures)] for row in rows]
    return markdown_table(["t", "way", *measures], cells)
