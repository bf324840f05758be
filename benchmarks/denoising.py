"""Measure how well a model sees through the noise: the error of its predicted clean image at several noise levels.

    python benchmarks/denoising.py --root data/held_out --checkpoint pretrained/iclevr-cpu

    error = root mean square of x_0(x_t, c) - x_0, of values in [-1, 1], over all pixels and over those of objects

If the error at little noise is as large as at much noise, the model does not draw what it sees: its samples are soft,
whatever their score.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from common import markdown_table
from lab_ddpm.arguments import add_checkpoint
from lab_ddpm.cli import run
from lab_ddpm.data.image_dataset import ImageDataset
from lab_ddpm.data.images import Images, image_grid, to_tensor, to_uint8, write_png
from lab_ddpm.data.open_dataset import DATASETS, open_dataset
from lab_ddpm.diffusion.denoiser import Denoiser
from lab_ddpm.diffusion.pipeline import LabelConditionalPipeline
from lab_ddpm.diffusion.place_map import make_place_map
from lab_ddpm.diffusion.places import places_in
from lab_ddpm.diffusion.sampling import image_seeds
from lab_ddpm.evaluation.comparison import check_data
from lab_ddpm.generation.checkpoint import open_pipeline
from lab_ddpm.generation.generate import sampling_record
from lab_ddpm.tools.errors import UserError, check_at_least
from lab_ddpm.tools.files import check_writable, write_json, write_text

TIMESTEPS = (10, 30, 100, 200, 300, 400, 600, 800)
_SHOWN, _SHOWN_AT = 8, (30, 200, 400, 600)
_BATCH = 64


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", default="iclevr", choices=DATASETS, help="default: iclevr")
    parser.add_argument("--root", type=Path, required=True, help="its folder, of images that were never trained on")
    add_checkpoint(parser)
    parser.add_argument("--num-images", type=int, default=256, help="default: 256")
    parser.add_argument("--out", type=Path, default=Path("denoising"), help="default: denoising")
    options = parser.parse_args(arguments)
    check_at_least("num-images", options.num_images, 1)
    pipeline = open_pipeline(options.checkpoint, runtime="torch")
    with_masks = pipeline.denoiser.space.has_layout and (options.root / "masks").is_dir()
    dataset = open_dataset(options.dataset, options.root, pipeline.denoiser.config["sample_size"], with_masks)
    table = measure(dataset, pipeline, options.num_images, options.out)
    print(table.read_text(encoding="utf-8") + f"wrote {table} and denoised.png beside it")


def measure(dataset: ImageDataset, pipeline: LabelConditionalPipeline, num_images: int, out: Path) -> Path:
    """Add noise to images, and take it away again; write `table.md`, which is returned, `table.json`, `denoised.png`.

    Args:
        dataset: Held-out images. With masks the table has a column for objects, and the model gets the places and a
            noisy layout; without masks both are unknown. Images without labels are seen under the null label.
        pipeline: Its model is measured; its sampling is not used.
        num_images: Number of the images, chosen at random; each has one noise, the same at every level.
        out: Where the files go. The first row of denoised.png is the images, then come predictions.

    Raises:
        UserError: The images do not fit the model.
    """
    check_data(pipeline, dataset)
    check_writable(out)
    denoiser = pipeline.denoiser
    chosen = np.sort(np.random.default_rng(0).permutation(len(dataset))[:num_images])
    images = dataset.images[chosen]
    pixels = to_tensor(images)
    rows = (
        dataset.class_labels[chosen]
        if denoiser.labels and dataset.labels
        else denoiser.class_labels([()] * len(chosen))
    )
    if denoiser.labels and not denoiser.config["condition_dropout"] and not rows.any(dim=1).all():
        raise UserError("a model without `condition_dropout` cannot see images without labels")
    objects, layout, place_map = None, None, None
    if dataset.masks is not None:
        masks = torch.from_numpy(dataset.masks[chosen]).movedim(-1, 1)
        objects, layout = F.interpolate(masks, images.shape[1:3]) > 0, denoiser.space.make_layout(masks)
        place_map = make_place_map(denoiser.space, places_in(masks, denoiser.space), masks, layout)
    clean = denoiser.space.encode(pixels, layout)
    is_unknown = torch.tensor([layout is None]).expand(len(chosen))
    noise = denoiser.space.draw_noise([torch.Generator().manual_seed(seed) for seed in image_seeds(0, len(chosen))])
    shown: list[Images] = [images[:_SHOWN]]
    errors = []
    for t in (t for t in TIMESTEPS if t < denoiser.config["num_train_timesteps"]):
        timestep = torch.tensor(t)
        noisy = denoiser.noise_scheduler.add_noise(clean, noise, timestep)  # pyright: ignore[reportArgumentType]
        seen = _denoised(denoiser, denoiser.space.without_layout(noisy, is_unknown), rows, timestep, place_map)
        squared = (seen - pixels).square().mean(dim=1, keepdim=True)
        noise_level = (1 - denoiser.alpha_bar(timestep)).sqrt().item()
        error = {"t": t, "noise": noise_level, "all": squared.mean().sqrt().item()}
        if objects is not None:
            error["objects"] = squared[objects].mean().sqrt().item()
        errors.append(error)
        if t in _SHOWN_AT:
            shown.append(to_uint8(seen[:_SHOWN]))
    write_png(out / "denoised.png", image_grid(np.concatenate(shown), len(shown[0])))
    write_json(out / "table.json", {**sampling_record(pipeline), "num_images": len(chosen), "errors": errors})
    columns = list(errors[0])
    table = [[error["t"], *(f"{error[key]:.4f}" for key in columns[1:])] for error in errors]
    write_text(out / "table.md", markdown_table(columns, table))
    return out / "table.md"


def _denoised(
    denoiser: Denoiser, noisy: torch.Tensor, rows: torch.Tensor, timestep: torch.Tensor, place_map: torch.Tensor | None
) -> torch.Tensor:
    """The unguided clean images that are seen in samples of one noise level."""
    device = denoiser.device
    seen = []
    for chosen in torch.arange(len(noisy)).split(_BATCH):
        maps = None if place_map is None else place_map[chosen].to(device)
        sample = denoiser.predict_clean(noisy[chosen].to(device), timestep, rows[chosen].to(device), place_map=maps)
        seen.append(denoiser.space.decode(sample).cpu())
    return torch.cat(seen)


if __name__ == "__main__":
    sys.exit(run(main))
