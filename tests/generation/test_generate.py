"""An image depends on its seed, its condition and the sampling, not on the other images of its batch."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lab_ddpm.data.images import Images, to_uint8
from lab_ddpm.diffusion.pipeline import LabelConditionalPipeline
from lab_ddpm.diffusion.sampling import image_seeds, sample
from lab_ddpm.diffusion.scheduler_names import SCHEDULERS
from lab_ddpm.generation.checkpoint import checkpoint_hash, open_pipeline
from lab_ddpm.generation.generate import generate, sampling_record

CONDITIONS = [("red cube",), ("cyan sphere",), (), ("red cube", "gray cube"), ("blue cube",)]
SEEDS = image_seeds(0, 5)


def drawn(pipeline: LabelConditionalPipeline, rows: list[int], **options: Any) -> Images:
    return generate(pipeline, [CONDITIONS[row] for row in rows], [SEEDS[row] for row in rows], **options).images


def check_equal_but_for_rounding(images: Images, others: Images) -> None:
    """Convolutions of another batch size sum in another order (by 1e-5): a rounding here and there."""
    difference = np.abs(images.astype(int) - others)
    assert difference.max() <= 1
    assert difference.mean() < 0.01


@pytest.mark.parametrize("name", SCHEDULERS)
def test_an_image_does_not_depend_on_its_batch(
    tiny_pipeline: LabelConditionalPipeline, name: str, capfd: pytest.CaptureFixture[str]
) -> None:
    pipeline = tiny_pipeline.with_sampling(name, 2, guidance_scale=2.0)
    together = drawn(pipeline, [0, 1, 2, 3, 4], progress="sampling")
    assert together.shape == (5, 16, 16, 3)
    check_equal_but_for_rounding(drawn(pipeline, [4, 2, 0], batch_size=2), together[[4, 2, 0]])
    done, total = capfd.readouterr().err.strip().split("\r")[-1].split("[")[0].split()[-1].split("/")
    assert done == total


def test_the_images_are_those_of_sample_and_of_the_pipeline(tiny_pipeline: LabelConditionalPipeline) -> None:
    pipeline = tiny_pipeline.with_sampling("ddim", 2)
    rows = pipeline.denoiser.class_labels(CONDITIONS)
    generated = generate(pipeline, CONDITIONS, SEEDS)
    np.testing.assert_array_equal(generated.images, generate(pipeline, rows, SEEDS).images)
    sampled = sample(pipeline.denoiser, rows, SEEDS, pipeline.sampling)
    np.testing.assert_array_equal(generated.images, to_uint8(pipeline.denoiser.space.decode(sampled)))
    np.testing.assert_array_equal(generated.images, np.stack([np.asarray(each) for each in pipeline(rows, seed=0)[0]]))
    assert generated.class_labels.equal(rows)
    assert generated.seeds == SEEDS


def test_a_checkpoint_is_sampled_in_its_own_way_unless_told_otherwise(
    tiny_pipeline: LabelConditionalPipeline, tmp_path: Path
) -> None:
    tiny_pipeline.with_sampling("unipc", 4, 3.0).save_pretrained(tmp_path)
    own = open_pipeline(tmp_path)
    record = {
        "checkpoint": str(tmp_path),
        "checkpoint_hash": checkpoint_hash(tmp_path),
        "scheduler": "unipc",
        "steps": 4,
        "guidance_scale": 3.0,
    }
    assert sampling_record(own) == record
    np.testing.assert_array_equal(drawn(own, [0, 1]), drawn(open_pipeline(tmp_path, "unipc", 4, 3.0), [0, 1]))
    other = open_pipeline(tmp_path, "ddim", 2, 2.0)
    assert (drawn(other, [0, 1]) != drawn(own, [0, 1])).any()
    unguided = generate(other, [()], [0])
    assert sampling_record(other, unguided) == {**record, "scheduler": "ddim", "steps": 2, "guidance_scale": 1.0}
