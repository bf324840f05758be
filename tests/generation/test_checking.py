"""What looks wrong is drawn again, and nothing else."""

import numpy as np
import pytest
import torch

from conftest import tiny_denoiser
from lab_ddpm.data.iclevr import OBJECTS
from lab_ddpm.data.images import to_uint8
from lab_ddpm.diffusion.pipeline import LabelConditionalPipeline
from lab_ddpm.diffusion.reverse_process import image_seeds
from lab_ddpm.generation.checking import count_objects, num_wrong, sample_checked
from lab_ddpm.generation.sampler import Sampler
from lab_ddpm.tools.errors import UserError
from painting_oracle import LABELS, PaintingOracle, paint


def test_the_labels_that_are_not_seen_are_counted() -> None:
    sampler = Sampler(LabelConditionalPipeline(PaintingOracle(), "ddim"), "ddim", 2)
    masks = torch.zeros(3, 1, 8, 8, dtype=torch.long)
    masks[1, 0, 2, 3], masks[2, 0, 4, 4], masks[2, 0, 5, 5] = 1, 1, 2
    assert num_wrong(sampler, to_uint8(paint(masks)), torch.ones(3, 2)) == [2, 1, 0]
    assert num_wrong(sampler, to_uint8(paint(masks)), torch.tensor([[1.0, 0.0]] * 3)) == [1, 0, 0]


def test_an_object_too_many_is_wrong_too() -> None:
    sampler = Sampler(LabelConditionalPipeline(PaintingOracle(), "ddim"), "ddim", 2)
    masks = torch.zeros(2, 1, 8, 8, dtype=torch.long)
    masks[:, 0, 2, 3:5] = 1
    masks[1, 0, 6, 3:5] = 1
    assert num_wrong(sampler, to_uint8(paint(masks)), torch.tensor([[1.0, 0.0]] * 2)) == [0, 1]


def test_objects_are_counted_in_pieces_of_at_least_two_patches() -> None:
    mask = np.zeros((3, 5, 5), np.uint8)
    mask[1, :2, :2] = 3  # one object
    mask[1, 4, 4] = 3  # one patch
    mask[2, :2, :2] = 3
    mask[2, 3:, :2] = 3  # one more of the same kind
    mask[2, :2, 2:4] = 5  # and one that touches the first
    assert count_objects(mask).tolist() == [0, 1, 3]


def test_only_what_lacks_something_is_drawn_again_and_the_best_is_kept() -> None:
    """A random network that sees what it likes: with more tries no image gets worse, and some get better."""
    denoiser = tiny_denoiser(
        labels=OBJECTS, patch_size=4, prediction_type="sample", layout_scale=2.0, layout_dropout=0.1
    )
    sampler = Sampler(LabelConditionalPipeline(denoiser, "ddim"), "ddim", 2, guidance_scale=1.0)
    conditions, seeds = [(name,) for name in OBJECTS], image_seeds(0, 24)
    first, best = (sample_checked(sampler, conditions, seeds, tries) for tries in (1, 4))
    plain = sampler.sample(conditions, seeds)
    np.testing.assert_array_equal(first.images, plain.images)
    assert first.seeds == seeds
    before, after = (num_wrong(sampler, each.images, each.class_labels) for each in (first, best))
    assert 0 < sum(after) < sum(before)
    for place in range(24):
        changed = best.seeds[place] != seeds[place]
        assert changed == (after[place] < before[place])
        assert best.seeds[place] in image_seeds(seeds[place], 4) or not changed
    places = [place for place in range(24) if best.seeds[place] != seeds[place]]
    again = sampler.sample([conditions[place] for place in places], [best.seeds[place] for place in places])
    assert np.abs(again.images.astype(int) - best.images[places]).max() <= 1


def test_a_model_that_does_not_read_says_so() -> None:
    sampler = Sampler(LabelConditionalPipeline(tiny_denoiser(labels=LABELS), "ddim"), "ddim", 2)
    with pytest.raises(UserError, match="only a model that was trained with"):
        sample_checked(sampler, [("dark",)], [0], 2)
    with pytest.raises(UserError, match="`tries` must be at least 1, got 0"):
        sample_checked(sampler, [("dark",)], [0], 0)
