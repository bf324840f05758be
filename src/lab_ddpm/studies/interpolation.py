"""How evenly pictures change along lambda, measured over many pairs of held-out pictures.

For each way of interpolating, each pair gives a walk of `COUNT` pictures and its `COUNT` - 1 distances between
neighbours. Over the pairs:

    jump     largest distance / mean distance of a walk: 1 for an even walk, `COUNT` - 1 for one single jump
    detour   sum of the distances / distance of the two ends: 1 for a straight line
    error    root mean square difference between a source and its reconstruction at its end
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from tqdm.auto import tqdm

from lab_ddpm.charts import distance_curves
from lab_ddpm.data.dataset import open_held_out
from lab_ddpm.errors import check_at_least
from lab_ddpm.figures import interpolation_strip
from lab_ddpm.files import check_writable, write_bytes, write_json, write_text
from lab_ddpm.images import Pictures, to_tensor, write_png
from lab_ddpm.interpolation import Mixing, Noise, distance, interpolate_pictures
from lab_ddpm.pipeline import LabelConditionalPipeline
from lab_ddpm.schedulers import make_scheduler

COUNT = 10
_TIMESTEPS = (250, 500, 750)
_STEPS = {"ddpm": 250, "ddim": 50}


@dataclass(frozen=True)
class Way:
    """One way of interpolating."""

    title: str
    scheduler: str
    noise: Noise
    mixing: Mixing


WAYS = (
    Way("shared noise, linear", "ddpm", "shared", "linear"),
    Way("shared noise, spherical", "ddpm", "shared", "spherical"),
    Way("fresh noise, linear", "ddpm", "fresh", "linear"),
    Way("fresh noise, spherical", "ddpm", "fresh", "spherical"),
    Way("shared noise, linear, DDIM decodes", "ddim", "shared", "linear"),
    Way("DDIM inversion, linear", "ddim", "inverted", "linear"),
    Way("DDIM inversion, spherical", "ddim", "inverted", "spherical"),
)


def study_interpolation(
    dataset: str, root: Path, held_out: Path | None, pipeline: LabelConditionalPipeline, num_pairs: int, out: Path
) -> Path:
    """Measure every way at every timestep; write `table.md`, `table.json`, `distances.png` and a strip of each way.

    Args:
        dataset: One of `dataset.DATASETS`, whose held-out pictures are paired.
        root: Its folder.
        held_out: The folder of the held-out pictures, for a data set without a part of its own for that.
        pipeline: It decodes under the null label.
        num_pairs: Pairs.
        out: Where the files go.

    Returns:
        The table.

    Raises:
        UserError, DataError: Unusable arguments, pictures or checkpoint.
    """
    check_at_least("num-pairs", num_pairs, 1)
    check_writable(out)
    config = pipeline.unet.config
    pictures = open_held_out(dataset, root, held_out, config["sample_size"]).pictures
    pairs = np.random.default_rng(0).permutation(len(pictures))[: 2 * num_pairs].reshape(num_pairs, 2)
    class_labels = torch.zeros(2, len(config["labels"]))
    training_scheduler = pipeline.scheduler
    rows: list[dict[str, object]] = []
    curves: dict[str, dict[str, list[float]]] = {f"t = {timestep}": {} for timestep in _TIMESTEPS}
    progress = tqdm(total=len(_TIMESTEPS) * len(WAYS) * num_pairs, desc="interpolating", unit="walk")
    for timestep in _TIMESTEPS:
        for way in WAYS:
            steps = _STEPS[way.scheduler]
            pipeline.scheduler = make_scheduler(way.scheduler, training_scheduler, steps)
            distances, errors = [], []
            for number, pair in enumerate(pairs):
                ends: Pictures = pictures[pair]
                walk = interpolate_pictures(
                    pipeline, to_tensor(ends), class_labels, timestep, steps, COUNT, way.mixing, way.noise, seed=number
                )
                distances.append(torch.cat([walk.distances(), distance(walk.images[:1], walk.images[-1:])]))
                errors.append(distance(walk.images[[0, -1]], to_tensor(ends)).mean())
                if number == 0:
                    name = f"{way.title.replace(', ', '-').replace(' ', '-').lower()}-{timestep}.png"
                    write_png(out / name, interpolation_strip(walk, list(ends), ["source", "source"]))
                progress.update()
            every = torch.stack(distances)
            along, across = every[:, :-1], every[:, -1]
            rows.append(
                {
                    "t": timestep,
                    "way": way.title,
                    "jump": _interval(along.amax(dim=1) / along.mean(dim=1)),
                    "detour": _interval(along.sum(dim=1) / across),
                    "error": _interval(torch.stack(errors)),
                }
            )
            curves[f"t = {timestep}"][way.title] = along.mean(dim=0).tolist()
    write_json(out / "table.json", {"num_pairs": num_pairs, "count": COUNT, "rows": rows, "distances": curves})
    write_text(out / "table.md", _table(rows))
    write_bytes(out / "distances.png", distance_curves(curves, "lambda", "distance of neighbours"))
    return out / "table.md"


def _interval(values: torch.Tensor) -> list[float]:
    """Mean over the pairs, and the two ends of its 95 % interval (normal)."""
    mean = float(values.mean())
    half = 1.96 * float(values.std()) / len(values) ** 0.5 if len(values) > 1 else 0.0
    return [mean, mean - half, mean + half]


def _table(rows: list[dict[str, object]]) -> str:
    lines = ["| t | way | jump | detour | error |", "|---|---|---|---|---|"]
    for row in rows:
        cells = ["{:.3f} [{:.3f}, {:.3f}]".format(*row[key]) for key in ("jump", "detour", "error")]  # type: ignore[misc]
        lines.append(f"| {row['t']} | {row['way']} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"
