"""Images with mistakes are drawn again, and no others."""

import numpy as np
import pytest
import torch

from conftest import tiny_denoiser
from lab_ddpm.data.iclevr import OBJECTS
from lab_ddpm.data.images import to_uint8
from lab_ddpm.diffusion.pipeline import LabelConditionalPipeline
from lab_ddpm.diffusion.sampling import image_seeds
from lab_ddpm.generation.checking import count_objects, generate_checked, num_wrong
from lab_ddpm.generation.generate import generate
from lab_ddpm.tools.errors import UserError
from painting_oracle import LABELS, PaintingOracle, paint


def test_missing_labels_and_objects_too_many_are_mistakes() -> None:
    pipeline = LabelConditionalPipeline(PaintingOracle(), "ddim")
    masks = torch.zeros(4, 1, 8, 8, dtype=torch.long)
    masks[1, 0, 2, 3], masks[2, 0, 4, 4], masks[2, 0, 5, 5] = 1, 1, 2
    masks[3, 0, 2, 3:5] = masks[3, 0, 6, 3:5] = 1
    assert num_wrong(pipeline, to_uint8(paint(masks)), torch.ones(4, 2)) == [2, 1, 0, 1]
    assert num_wrong(pipeline, to_uint8(paint(masks)), torch.tensor([[1.0, 0.0]] * 4)) == [1, 0, 0, 1]


def test_objects_have_at_least_two_patches_and_are_counted_by_label() -> None:
    mask = np.zeros((3, 5, 5), np.uint8)
    mask[1, :2, :2], mask[1, 4, 4] = 3, 3
    mask[2, :2, :2], mask[2, 3:, :2] = 3, 3
    mask[2, :2, 2:4] = 5  # touches the first
    assert count_objects(mask).tolist() == [0, 1, 3]


def test_the_best_try_is_kept() -> None:
    """A random network sees random mistakes: with more tries no image gets worse, and some get better."""
    denoiser = tiny_denoiser(
        labels=OBJECTS, patch_size=4, prediction_type="sample", layout_scale=2.0, layout_dropout=0.1
    )
    pipeline = LabelConditionalPipeline(denoiser, "ddim", 2)
    conditions, seeds = [(name,) for name in OBJECTS], image_seeds(0, 24)
    first, best = (generate_checked(pipeline, conditions, seeds, tries) for tries in (1, 4))
    np.testing.assert_array_equal(first.images, generate(pipeline, conditions, seeds).images)
    before, after = (num_wrong(pipeline, each.images, each.class_labels) for each in (first, best))
    assert 0 < sum(after) < sum(before)
    for index, (used, seed) in enumerate(zip(best.seeds, seeds, strict=True)):
        assert (used != seed) == (after[index] < before[index])
    again = generate(pipeline, conditions, best.seeds)
    assert np.abs(again.images.astype(int) - best.images).max() <= 1


def test_a_model_that_does_not_read_is_refused() -> None:
    with pytest.raises(UserError):
        generate_checked(LabelConditionalPipeline(tiny_denoiser(labels=LABELS), "ddim"), [("dark",)], [0], 2)
