"""An image is a function of its seed, its condition and the sampler, whoever is sampled beside it."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import EulerDiscreteScheduler

from conftest import save_tiny_pipeline, tiny_denoiser
from lab_ddpm.data.image_cache import ImageDataset
from lab_ddpm.data.images import Images, to_uint8
from lab_ddpm.diffusion.pipeline import LabelConditionalPipeline
from lab_ddpm.diffusion.reverse_process import image_seeds
from lab_ddpm.diffusion.schedulers import SCHEDULERS
from lab_ddpm.generation.checkpoint import checkpoint_hash
from lab_ddpm.generation.sampler import Sampler, open_sampler
from lab_ddpm.tools.errors import UserError

CONDITIONS = [("red cube",), ("cyan sphere",), ("gray cylinder",), ("red cube", "gray cube"), ("blue cube",)]
SEEDS = image_seeds(0, 5)


def sample(pipeline: LabelConditionalPipeline, rows: list[int], name: str = "ddim", **options: Any) -> Images:
    sampler = Sampler(pipeline, name, 2, guidance_scale=2.0)
    return sampler.sample([CONDITIONS[row] for row in rows], [SEEDS[row] for row in rows], **options).images


def check_equal_but_for_rounding(images: Images, others: Images) -> None:
    difference = np.abs(images.astype(int) - others)
    assert difference.max() <= 1
    assert difference.mean() < 0.01


@pytest.mark.parametrize("name", SCHEDULERS)
def test_a_image_does_not_depend_on_the_batch_it_is_in(tiny_pipeline: LabelConditionalPipeline, name: str) -> None:
    together = sample(tiny_pipeline, [0, 1, 2, 3, 4], name)
    assert together.shape == (5, 16, 16, 3)
    assert together.dtype == np.uint8
    # Convolutions sum in another order in another batch (by 1e-5): a rounding here and there.
    for batch_size in (1, 2):
        check_equal_but_for_rounding(sample(tiny_pipeline, [0, 1, 2, 3, 4], name, batch_size=batch_size), together)
    check_equal_but_for_rounding(sample(tiny_pipeline, [4, 2, 0], name), together[[4, 2, 0]])


def test_images_of_one_condition_differ_by_their_seeds_alone(tiny_pipeline: LabelConditionalPipeline) -> None:
    images = Sampler(tiny_pipeline, "ddim", 2).sample([("red cube",)] * 3, [1, 2, 1]).images
    assert np.abs(images[0].astype(int) - images[1]).mean() > 10
    check_equal_but_for_rounding(images[0], images[2])


def test_a_sample_is_the_pipeline_with_one_generator_per_image(tiny_pipeline: LabelConditionalPipeline) -> None:
    samples = Sampler(tiny_pipeline, "ddim", 2).sample(CONDITIONS[:3], SEEDS[:3])
    generators = [torch.Generator().manual_seed(seed) for seed in SEEDS[:3]]
    rows = tiny_pipeline.denoiser.class_labels(CONDITIONS[:3])
    np.testing.assert_array_equal(samples.images, to_uint8(tiny_pipeline.sample(rows, generators, 2)))
    assert torch.equal(samples.class_labels, rows)
    assert samples.seeds == SEEDS[:3]


def test_rows_are_as_good_as_names(tiny_pipeline: LabelConditionalPipeline) -> None:
    sampler = Sampler(tiny_pipeline, "ddim", 2)
    rows = tiny_pipeline.denoiser.class_labels(CONDITIONS)
    by_rows, by_names = (sampler.sample(asked, SEEDS).images for asked in (rows, CONDITIONS))
    np.testing.assert_array_equal(by_rows, by_names)


def test_what_watches_sees_every_batch(tiny_pipeline: LabelConditionalPipeline) -> None:
    seen: list[tuple[int, int]] = []
    sampler = Sampler(tiny_pipeline, "ddim", 2)
    sampler.sample(CONDITIONS, SEEDS, batch_size=3, on_state=lambda timestep, x: seen.append((timestep, len(x))))
    assert seen == [(999, 3), (499, 3), (-1, 3), (999, 2), (499, 2), (-1, 2)]


@pytest.mark.parametrize("name", SCHEDULERS)
def test_the_progress_bar_ends_at_its_total(
    tiny_pipeline: LabelConditionalPipeline, name: str, capfd: pytest.CaptureFixture[str]
) -> None:
    sample(tiny_pipeline, [0, 1, 2], name, batch_size=2, progress="sampling")
    last = capfd.readouterr().err.strip().split("\r")[-1]
    done, total = last.split("[")[0].split()[-1].split("/")
    assert last.startswith("sampling: 100%")
    assert done == total


def test_a_scheduler_of_ones_own_samples_as_its_name_does(tiny_pipeline: LabelConditionalPipeline) -> None:
    own, named = (
        Sampler(tiny_pipeline, scheduler, 3).sample(CONDITIONS, SEEDS).images
        for scheduler in (EulerDiscreteScheduler(), "euler")
    )
    np.testing.assert_array_equal(own, named)


def test_two_samplers_of_one_pipeline_do_not_disturb_each_other(tiny_pipeline: LabelConditionalPipeline) -> None:
    alone = sample(tiny_pipeline, [0, 1], "ddpm")
    first = Sampler(tiny_pipeline, "ddpm", 2, guidance_scale=2.0)
    Sampler(tiny_pipeline, "euler", 3)
    tiny_pipeline.scheduler = EulerDiscreteScheduler()
    np.testing.assert_array_equal(first.sample(CONDITIONS[:2], SEEDS[:2]).images, alone)


@pytest.fixture
def checkpoint(tiny_pipeline: LabelConditionalPipeline, tmp_path: Path) -> Path:
    """A pipeline whose own sampler is UniPC with 4 steps and a guidance of 3."""
    LabelConditionalPipeline(tiny_pipeline.denoiser, "unipc", 3.0, num_inference_steps=4).save_pretrained(tmp_path)
    return tmp_path


def test_the_sampler_is_that_of_the_checkpoint(checkpoint: Path) -> None:
    own = open_sampler(checkpoint)
    assert (own.scheduler, own.steps) == ("unipc", 4)
    expected = open_sampler(checkpoint, "unipc", 4, 3.0).sample(CONDITIONS, SEEDS).images
    np.testing.assert_array_equal(own.sample(CONDITIONS, SEEDS).images, expected)
    assert (expected != open_sampler(checkpoint, "ddim").sample(CONDITIONS, SEEDS).images).any()
    called = own.pipeline(CONDITIONS, seed=0).images
    seeded = own.sample(CONDITIONS, image_seeds(0, len(CONDITIONS))).images
    check_equal_but_for_rounding(np.stack([np.asarray(image) for image in called]), seeded)


def test_the_guidance_is_that_of_the_checkpoint_and_none_without_a_condition(checkpoint: Path) -> None:
    sampler = open_sampler(checkpoint, "ddim", 2)
    assert sampler.sample(CONDITIONS, SEEDS).guidance_scale == 3.0
    assert open_sampler(checkpoint, "ddim", 2, 2.0).sample(CONDITIONS, SEEDS).guidance_scale == 2.0
    nothing = sampler.sample([()] * 5, SEEDS)
    assert nothing.guidance_scale == 1.0
    settings = sampler.settings(nothing)
    assert settings == {
        "checkpoint": str(checkpoint),
        "checkpoint_hash": checkpoint_hash(checkpoint),
        "scheduler": "ddim",
        "steps": 2,
        "guidance_scale": 1.0,
        "guidance_stop": 1.0,
    }


def test_a_batch_without_a_condition_among_others_is_sampled(checkpoint: Path) -> None:
    sampler = open_sampler(checkpoint, "ddim", 2, 2.0)
    apart = sampler.sample([("red cube",), (), ()], SEEDS[:3], batch_size=1).images
    check_equal_but_for_rounding(apart, sampler.sample([("red cube",), (), ()], SEEDS[:3]).images)


@pytest.mark.parametrize("guidance_scale", [2.0, 3.0])
def test_without_a_condition_no_guidance_can_be_asked_for(checkpoint: Path, guidance_scale: float) -> None:
    sampler = open_sampler(checkpoint, "ddim", 2, guidance_scale)
    with pytest.raises(UserError, match=f"must be 1 where there is no condition, got {guidance_scale}"):
        sampler.sample([()], [0])


def test_images_of_another_kind_are_not_compared(tmp_path: Path) -> None:
    grey = open_sampler(save_tiny_pipeline(tmp_path, 1, ("a", "b")), "ddim", 2)

    def images(channels: int, labels: tuple[str, ...]) -> ImageDataset:
        array = np.zeros((2, 32, 32, channels), np.uint8)
        return ImageDataset(["0", "1"], array, torch.zeros(2, len(labels)), labels, "crop", "")

    grey.check_data(images(1, ("a", "b")))
    grey.check_data(images(1, ()))
    with pytest.raises(UserError, match="makes grey images, and those to compare are colour"):
        grey.check_data(images(3, ("a", "b")))
    with pytest.raises(UserError, match="was trained on other labels"):
        grey.check_data(images(1, ("a", "c")))


def test_a_number_of_steps_out_of_range_is_refused_before_anything_is_sampled() -> None:
    pipeline = LabelConditionalPipeline(tiny_denoiser(), "ddim")
    with pytest.raises(UserError, match="`steps` must be between 1 and 1000, got 1001"):
        Sampler(pipeline, "ddim", 1001)
    with pytest.raises(UserError, match="one seed per image, got 2 for 1 conditions"):
        Sampler(pipeline, "ddim", 2).sample([()], [0, 1])
    with pytest.raises(UserError, match="there must be a condition, got none"):
        Sampler(pipeline, "ddim", 2).sample([], [])
