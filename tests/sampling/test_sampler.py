"""A picture is a function of its seed, its condition and the sampler, whoever is sampled beside it."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from lab_ddpm.sampling.generation import generate, picture_seeds

from lab_ddpm.data.conditions import encode
from lab_ddpm.data.images import Pictures, to_uint8
from lab_ddpm.diffusion.pipeline import LabelConditionalPipeline
from lab_ddpm.diffusion.schedulers import SCHEDULERS, make_scheduler

CLASS_LABELS = encode([["red cube"], ["cyan sphere"], ["gray cylinder"], ["red cube", "gray cube"], ["blue cube"]])
SEEDS = picture_seeds(0, 5)


def sample(pipeline: LabelConditionalPipeline, rows: list[int], name: str = "ddim", **options: Any) -> Pictures:
    pipeline.scheduler = make_scheduler(name, pipeline.scheduler, 2)
    seeds = [SEEDS[row] for row in rows]
    return generate(pipeline, CLASS_LABELS[rows], seeds, num_inference_steps=2, **options)


def check_equal_but_for_rounding(pictures: Pictures, others: Pictures) -> None:
    difference = np.abs(pictures.astype(int) - others)
    assert difference.max() <= 1
    assert difference.mean() < 0.01


@pytest.mark.parametrize("name", SCHEDULERS)
def test_a_picture_does_not_depend_on_the_batch_it_is_in(tiny_pipeline: LabelConditionalPipeline, name: str) -> None:
    together = sample(tiny_pipeline, [0, 1, 2, 3, 4], name, guidance_scale=2.0)
    assert together.shape == (5, 16, 16, 3)
    assert together.dtype == np.uint8
    # Convolutions sum in another order in another batch (by 1e-5): a rounding here and there.
    for batch_size in (1, 2):
        apart = sample(tiny_pipeline, [0, 1, 2, 3, 4], name, guidance_scale=2.0, batch_size=batch_size)
        check_equal_but_for_rounding(apart, together)
    turned = sample(tiny_pipeline, [4, 2, 0], name, guidance_scale=2.0)
    check_equal_but_for_rounding(turned, together[[4, 2, 0]])


def test_pictures_of_one_condition_differ_by_their_seeds_alone(
    tiny_pipeline: LabelConditionalPipeline,
) -> None:
    tiny_pipeline.scheduler = make_scheduler("ddim", tiny_pipeline.scheduler, 2)
    pictures = generate(tiny_pipeline, CLASS_LABELS[[0, 0, 0]], [1, 2, 1], num_inference_steps=2)
    assert np.abs(pictures[0].astype(int) - pictures[1]).mean() > 10
    check_equal_but_for_rounding(pictures[0], pictures[2])


def test_generation_is_the_pipeline_with_one_generator_per_picture(
    tiny_pipeline: LabelConditionalPipeline,
) -> None:
    pictures = sample(tiny_pipeline, [0, 1, 2])
    generators = [torch.Generator().manual_seed(seed) for seed in SEEDS[:3]]
    np.testing.assert_array_equal(pictures, to_uint8(tiny_pipeline(CLASS_LABELS[:3], 2, generator=generators)))


def test_the_callback_sees_every_batch(tiny_pipeline: LabelConditionalPipeline) -> None:
    seen: list[tuple[int, int]] = []
    tiny_pipeline.scheduler = make_scheduler("ddim", tiny_pipeline.scheduler, 2)
    generate(
        tiny_pipeline,
        CLASS_LABELS,
        SEEDS,
        num_inference_steps=2,
        batch_size=3,
        callback=lambda timestep, images: seen.append((timestep, len(images))),
    )
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


@given(st.integers(0, 2**40))
def test_the_seeds_of_a_run_are_distinct_words_of_32_bits(seed: int) -> None:
    seeds = picture_seeds(seed, 64)
    assert len(set(seeds)) == 64
    assert all(0 <= value < 2**32 for value in seeds)


def test_runs_share_no_seed_and_a_longer_run_starts_as_a_shorter_one() -> None:
    seeds = [value for run in range(32) for value in picture_seeds(run, 64)]
    assert len(set(seeds)) == len(seeds)
    assert picture_seeds(3, 64)[:10] == picture_seeds(3, 10)
