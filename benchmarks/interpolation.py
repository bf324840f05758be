"""Measure how evenly images change along lambda, for every way of interpolating, over pairs of held-out images.

    python benchmarks/interpolation.py --dataset fashion_mnist --root data/fashion_mnist \\
        --checkpoint pretrained/fashion-mnist

For each way of interpolating, each pair gives `COUNT` images and their `COUNT` - 1 distances between
neighbours. Over the pairs:

    jump     largest distance / mean distance: 1 for even steps, `COUNT` - 1 for one single jump
    detour   sum of the distances / distance of the two ends: 1 for a straight line
    error    root mean square difference between a source and its reconstruction at its end
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm.auto import tqdm

from charts import distances_above_images
from common import markdown_table
from lab_ddpm.arguments import add_checkpoint
from lab_ddpm.cli import run
from lab_ddpm.data.images import Images, to_tensor, to_uint8, write_png
from lab_ddpm.data.open_dataset import open_held_out
from lab_ddpm.diffusion.pipeline import LabelConditionalPipeline
from lab_ddpm.drawing.figures import interpolation_strip
from lab_ddpm.evaluation.comparison import check_data
from lab_ddpm.evaluation.intervals import as_text, mean_interval
from lab_ddpm.generation.checkpoint import open_pipeline
from lab_ddpm.generation.interpolation import Interpolation, Mixing, Noise, distance, interpolate_images, mix_images
from lab_ddpm.tools.errors import UserError, check_at_least
from lab_ddpm.tools.files import check_writable, write_bytes, write_json, write_text

COUNT = 10
TIMESTEPS = (249, 499, 749)  # noise levels that both schedulers visit
EXPLAINED = 499  # the one of `why.png`
STEPS = {"ddpm": 200, "ddim": 40}


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
    Way("own noise for each image, linear", "ddpm", "own", "linear"),
    Way("own noise for each image, spherical", "ddpm", "own", "spherical"),
    Way("new random numbers for every lambda", "ddpm", "fresh", "linear"),
    Way("shared noise, linear, denoised by DDIM", "ddim", "shared", "linear"),
    Way("shared noise, linear, one-step prediction", "ddim", "shared", "linear", one_step=True),
    Way("DDIM inversion, linear", "ddim", "inverted", "linear"),
    Way("DDIM inversion, spherical", "ddim", "inverted", "spherical"),
)


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", required=True, help="iclevr, mnist, fashion_mnist, cifar10, flowers102 or folder")
    parser.add_argument("--root", type=Path, required=True, help="its folder")
    parser.add_argument("--held-out", type=Path, help="iclevr, folder: another folder, of images not trained on")
    add_checkpoint(parser)
    parser.add_argument("--num-pairs", type=int, default=32, help="pairs of held-out images (default: 32)")
    parser.add_argument("--out", type=Path, default=Path("interpolation"), help="default: interpolation")
    options = parser.parse_args(arguments)
    pipeline = open_pipeline(options.checkpoint, runtime="torch")
    real = open_held_out(options.dataset, options.root, options.held_out, pipeline.denoiser.config["sample_size"])
    check_data(pipeline, real)
    table = measure(real.images, pipeline, options.num_pairs, options.out)
    print(table.read_text(encoding="utf-8") + f"wrote {table} and its figures beside it")


def measure(images: Images, pipeline: LabelConditionalPipeline, num_pairs: int, out: Path) -> Path:
    """Measure every way at every timestep; write `table.md`, which is returned, and the other files beside it.

    Args:
        images: (N, H, W, C) uint8, of which pairs are drawn; held-out ones.
        pipeline: It decodes under the null label.
        num_pairs: Number of pairs.
        out: Folder of `table.md`, `table.json`, `why.png` and a strip of images for each way.

    Raises:
        UserError: More pairs than images allow, or none.
    """
    check_at_least("num-pairs", num_pairs, 1)
    if 2 * num_pairs > len(images):
        raise UserError(f"`num-pairs` must be at most {len(images) // 2} for {len(images)} images, got {num_pairs}")
    check_writable(out)
    pairs = np.random.default_rng(0).permutation(len(images))[: 2 * num_pairs].reshape(num_pairs, 2)
    rows: list[dict[str, Any]] = []
    progress = tqdm(total=len(TIMESTEPS) * len(WAYS) * num_pairs, desc="interpolating", unit="interpolation")
    for timestep in TIMESTEPS:
        for way in WAYS:
            sampled = pipeline.with_sampling(way.scheduler, STEPS[way.scheduler])
            distances, errors = [], []
            for number, pair in enumerate(pairs):
                ends: Images = images[pair]
                settings: dict[str, Any] = {"mixing": way.mixing, "noise": way.noise, "seed": number}
                interpolate = interpolate_in_one_step if way.one_step else interpolate_images
                found = interpolate(sampled, to_tensor(ends), timestep=timestep, count=COUNT, **settings)
                distances.append(torch.cat([found.distances(), distance(found.images[:1], found.images[-1:])]))
                errors.append(distance(found.images[[0, -1]], to_tensor(ends)).mean())
                if number == 0:
                    name = f"{way.title.replace(', ', '-').replace(' ', '-').lower()}-{timestep}.png"
                    write_png(out / name, interpolation_strip(found, list(ends), ["source", "source"]))
                progress.update()
            every = torch.stack(distances)
            along, across = every[:, :-1], every[:, -1]
            measures = {
                "jump": along.amax(dim=1) / along.mean(dim=1),
                "detour": along.sum(dim=1) / across,
                "error": torch.stack(errors),
            }
            intervals = {name: mean_interval(values.tolist()) for name, values in measures.items()}
            rows.append({"t": timestep, "way": way.title, **intervals, "distances": along.mean(dim=0).tolist()})
    write_json(out / "table.json", {"num_pairs": num_pairs, "count": COUNT, "rows": rows})
    measured = ("jump", "detour", "error")
    table = [[row["t"], row["way"], *(as_text(row[name], ".3f") for name in measured)] for row in rows]
    write_text(out / "table.md", markdown_table(["t", "way", *measured], table))
    drawn = next(row["distances"] for row in rows if (row["t"], row["way"]) == (EXPLAINED, WAYS[0].title))
    write_bytes(out / "why.png", explain(pipeline, images[pairs], drawn))
    return out / "table.md"


def explain(pipeline: LabelConditionalPipeline, pairs: Images, drawn: list[float]) -> bytes:
    """Why an interpolation jumps, as a PNG: the mean distances of neighbours, and what the network does with a pair.

    Args:
        pipeline: It decodes under the null label.
        pairs: (P, 2, H, W, C) uint8.
        drawn: The COUNT - 1 mean distances of neighbours that `WAYS[0]` draws between these pairs.
    """
    first, second = (to_tensor(ends) for ends in np.moveaxis(pairs, 1, 0))
    even = [distance(first, second).mean().item() / (COUNT - 1)] * (COUNT - 1)
    sampled, ends = pipeline.with_sampling("ddpm", STEPS["ddpm"]), torch.stack([first[0], second[0]])
    settings: dict[str, Any] = {"timestep": EXPLAINED, "count": COUNT}
    lambdas, start, _ = mix_images(sampled, ends, **settings)
    weights = lambdas[:, None, None, None]
    rows = {
        "cross-fade": (1 - weights) * ends[0] + weights * ends[1],
        "with noise": pipeline.denoiser.space.decode(start.samples).cpu(),
        "drawn": interpolate_images(sampled, ends, **settings).images,
    }
    curves = {"cross-fades": even, "drawn images": drawn}
    return distances_above_images(lambdas.tolist(), curves, {title: to_uint8(row) for title, row in rows.items()})


def interpolate_in_one_step(
    pipeline: LabelConditionalPipeline, clean_images: torch.Tensor, **settings: Any
) -> Interpolation:
    """`interpolate_images`, but decoded with one prediction of the clean image, E[x_0 | x_t].

    The reverse process draws from p(x_0 | x_t) instead.
    """
    lambdas, start, _ = mix_images(pipeline, clean_images, **settings)
    rows = pipeline.denoiser.class_labels([()] * len(lambdas))
    clean = pipeline.denoiser.predict_clean(start.samples, torch.tensor(start.timestep), rows)
    return Interpolation(lambdas, pipeline.denoiser.space.decode(clean).cpu(), start.timestep)


if __name__ == "__main__":
    sys.exit(run(main))
