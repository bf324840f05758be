"""The measurement of denoising, on Gaussian images, of which the best error is known."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from conftest import tiny_denoiser
from denoising import TIMESTEPS, measure
from gaussian_oracle import MEANS, STD, GaussianOracle
from lab_ddpm.data.image_dataset import ImageDataset
from lab_ddpm.data.images import to_uint8
from lab_ddpm.diffusion.pipeline import LabelConditionalPipeline
from painting_oracle import LABELS, PaintingOracle, paint


def test_the_best_network_is_off_by_what_the_noise_hides(tmp_path: Path) -> None:
    denoiser = GaussianOracle()
    size = denoiser.config["sample_size"]
    rows = torch.eye(2).repeat(32, 1)
    means = rows @ torch.tensor(MEANS)
    images = means[:, None, None, None] + STD * torch.randn(
        64, 3, size, size, generator=torch.Generator().manual_seed(5)
    )
    dataset = ImageDataset([str(n) for n in range(64)], to_uint8(images), rows, denoiser.labels, "squash", "")
    pipeline = LabelConditionalPipeline(denoiser, "ddim")
    measure(dataset, pipeline, 64, tmp_path)
    errors = json.loads((tmp_path / "table.json").read_text())["errors"]
    assert [error["t"] for error in errors] == list(TIMESTEPS)
    for error in errors:
        noise = error["noise"] ** 2
        expected = (STD**2 * noise / (STD**2 * (1 - noise) + noise)) ** 0.5
        assert error["all"] == pytest.approx(expected, rel=0.03, abs=2e-3), error  # an image has 256 values
    assert (tmp_path / "denoised.png").is_file()


def test_objects_have_a_column_where_their_masks_are_known(tmp_path: Path) -> None:
    """The painter is off by what lies within a patch, which it paints in one colour."""
    masks = torch.zeros(6, 1, 8, 8, dtype=torch.long)
    masks[:, 0, 2, 3], masks[:, 0, 5, 5] = 1, 2
    fine = masks.repeat_interleave(4, dim=2).repeat_interleave(4, dim=3)
    images = paint(masks) + 0.1 * (fine > 0)
    dataset = ImageDataset(
        [str(n) for n in range(6)],
        to_uint8(images),
        torch.ones(6, 2),
        LABELS,
        "squash",
        "",
        masks.repeat_interleave(8, dim=2).repeat_interleave(8, dim=3).movedim(1, -1).to(torch.uint8).numpy(),
    )
    pipeline = LabelConditionalPipeline(PaintingOracle(), "ddim")
    measure(dataset, pipeline, 6, tmp_path)
    first = json.loads((tmp_path / "table.json").read_text())["errors"][0]
    assert first["objects"] == pytest.approx(0.1, abs=0.01)
    assert first["all"] == pytest.approx(0.1 * (2 / 64) ** 0.5, abs=0.005)


def test_without_masks_the_layout_is_unknown_and_without_labels_the_null_label_is_asked(tmp_path: Path) -> None:
    denoiser = tiny_denoiser(
        labels=LABELS, prediction_type="sample", patch_size=4, layout_scale=2.0, condition_dropout=0.1
    )
    seen: list[tuple[torch.Tensor, torch.Tensor]] = []

    def predict(
        noisy: torch.Tensor, timesteps: torch.Tensor, class_labels: torch.Tensor, place_map: torch.Tensor | None
    ) -> torch.Tensor:
        assert place_map is None
        seen.append((denoiser.space.layout(noisy), class_labels))
        return torch.zeros_like(noisy)

    denoiser.forward = predict
    size = denoiser.config["sample_size"]
    images = np.random.default_rng(0).integers(0, 256, (5, size, size, 3)).astype(np.uint8)
    dataset = ImageDataset([str(n) for n in range(5)], images, torch.zeros(5, 0), (), "squash", "")
    measure(dataset, LabelConditionalPipeline(denoiser, "ddim"), 5, tmp_path)
    assert len(seen) == len(TIMESTEPS)
    for layout, class_labels in seen:
        assert not layout.any()
        assert class_labels.equal(torch.zeros(5, len(LABELS)))
