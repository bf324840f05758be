"""A checkpoint with the sampler of a command."""

from pathlib import Path

import pytest

from lab_ddpm.diffusion.pipeline import LabelConditionalPipeline
from lab_ddpm.sampling.sampler import open_sampler
from lab_ddpm.tools.errors import UserError


@pytest.fixture
def checkpoint(tiny_pipeline: LabelConditionalPipeline, tmp_path: Path) -> Path:
    """A pipeline whose own guidance is 3."""
    guided = LabelConditionalPipeline(tiny_pipeline.unet, tiny_pipeline.scheduler, 3.0, condition_dropout=0.1)
    guided.save_pretrained(tmp_path)
    return tmp_path


def test_without_a_condition_the_guidance_of_the_checkpoint_does_not_count(checkpoint: Path) -> None:
    sampler = open_sampler(checkpoint, "ddim", 2, None)
    assert (sampler.guidance_scale, sampler.unguided()) == (3.0, 1.0)


@pytest.mark.parametrize("guidance_scale", [2.0, 3.0])
def test_without_a_condition_no_guidance_can_be_asked_for(checkpoint: Path, guidance_scale: float) -> None:
    sampler = open_sampler(checkpoint, "ddim", 2, guidance_scale)
    with pytest.raises(UserError, match=f"must be 1 where there is no condition, got {guidance_scale}"):
        sampler.unguided()
