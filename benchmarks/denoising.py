"""How well a model sees through the noise: the error of its clean image at several noise levels, where it matters.

    error = root mean square of x_0(x_t, c) - x_0, of values in [-1, 1], over all pixels and over those of objects

A model whose error at hardly any noise is that at much noise does not draw what it sees: its samples are soft, whatever
their score.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from lab_ddpm.data.image_cache import ImageDataset
from lab_ddpm.data.images import Images, image_grid, to_tensor, to_uint8, write_png
from lab_ddpm.diffusion.denoiser import Denoiser
from lab_ddpm.diffusion.noise import add_noise
from lab_ddpm.diffusion.reverse_process import image_seeds
from lab_ddpm.generation.sampler import Sampler
from lab_ddpm.tools.files import check_writable, write_json, write_text
from lab_ddpm.tools.tables import markdown_table

TIMESTEPS = (10, 30, 100, 200, 300, 400, 600, 800)
_SHOWN, _SHOWN_AT = 8, (30, 200, 400, 600)
_BATCH = 64


def study_denoising(dataset: ImageDataset, sampler: Sampler, num_images: int, out: Path) -> Path:
    """Add noise to images, and take it away again; write `table.md`, `table.json` and `denoised.png`.

    Args:
        dataset: Held-out images, with masks for a second column, and for a layout that is noised with them: without
            masks it is unknown. Images without labels are seen under the null label.
        sampler: Of the model; its guidance takes no part.
        num_images: So many of the images, at random; one noise for each, the same at every level.
        out: Where the files go. In the image the first row is what is there, then come predictions.

    Returns:
        The table.

    Raises:
        UserError: The images are of another kind than the model's, or have other labels.
    """
    sampler.check_data(dataset)
    check_writable(out)
    denoiser = sampler.denoiser
    chosen = np.sort(np.random.default_rng(0).permutation(len(dataset))[:num_images])
    images = dataset.images[chosen]
    pixels = to_tensor(images)
    rows = dataset.class_labels[chosen] if denoiser.labels and dataset.labels else denoiser.null_labels(len(chosen))
    denoiser.check_guidance(rows, None, 1.0)
    objects, layout = None, None
    if dataset.masks is not None:
        masks = torch.from_numpy(dataset.masks[chosen]).movedim(-1, 1)
        objects, layout = masks > 0, denoiser.space.make_layout(masks)
    clean = denoiser.space.encode(pixels, layout)
    is_unknown = torch.tensor([layout is None]).expand(len(chosen))
    noise = denoiser.space.draw_noise([torch.Generator().manual_seed(seed) for seed in image_seeds(0, len(chosen))])
    shown: list[Images] = [images[:_SHOWN]]
    errors = []
    for t in (t for t in TIMESTEPS if t < denoiser.config["num_train_timesteps"]):
        timestep = torch.tensor(t, device=denoiser.device)
        alpha_bar = denoiser.alpha_bar(timestep).cpu()
        noisy = denoiser.space.without_layout(add_noise(clean, noise, alpha_bar), is_unknown)
        seen = _denoised(denoiser, noisy, rows, timestep)
        squared = (seen - pixels).square().mean(dim=1, keepdim=True)
        error = {"t": t, "noise": (1 - alpha_bar).sqrt().item(), "all": squared.mean().sqrt().item()}
        if objects is not None:
            error["objects"] = squared[objects].mean().sqrt().item()
        errors.append(error)
        if t in _SHOWN_AT:
            shown.append(to_uint8(seen[:_SHOWN]))
    write_png(out / "denoised.png", image_grid(np.concatenate(shown), len(shown[0])))
    write_json(out / "table.json", {**sampler.settings(), "num_images": len(chosen), "errors": errors})
    columns = list(errors[0])
    table = [[error["t"], *(f"{error[key]:.4f}" for key in columns[1:])] for error in errors]
    write_text(out / "table.md", markdown_table(columns, table))
    return out / "table.md"


def _denoised(denoiser: Denoiser, noisy: torch.Tensor, rows: torch.Tensor, timestep: torch.Tensor) -> torch.Tensor:
    """The unguided clean images that are seen in samples of one noise level."""
    seen = []
    for samples, labels in zip(noisy.split(_BATCH), rows.split(_BATCH), strict=True):
        sample = denoiser.predict_clean(samples.to(denoiser.device), timestep, labels.to(denoiser.device))
        seen.append(denoiser.space.decode(sample).cpu())
    return torch.cat(seen)
