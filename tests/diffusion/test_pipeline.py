"""The pipeline is the loop of its docstring; what is saved samples the same pictures."""

from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import DDPMScheduler

from conftest import tiny_unet
from lab_ddpm.data.conditions import OBJECTS, encode
from lab_ddpm.diffusion.pipeline import LabelConditionalPipeline
from lab_ddpm.diffusion.schedulers import SCHEDULERS, make_scheduler
from lab_ddpm.sampling.checkpoint import load_pipeline
from lab_ddpm.tools.errors import UserError

CLASS_LABELS = encode([["red cube"], ["red cube", "cyan sphere"], ["gray cylinder"]])


def test_one_generator_for_all_pictures_is_enough(pipeline: LabelConditionalPipeline) -> None:
    one, two = (pipeline(CLASS_LABELS, 2, generator=torch.Generator().manual_seed(5)) for _ in range(2))
    assert torch.equal(one, two)
    assert not torch.equal(one[0], one[1])


def generators(count: int = 3) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(seed) for seed in range(count)]


@pytest.fixture
def pipeline(tiny_pipeline: LabelConditionalPipeline) -> LabelConditionalPipeline:
    tiny_pipeline.scheduler = make_scheduler("ddim", tiny_pipeline.scheduler, 3)
    tiny_pipeline.set_progress_bar_config(disable=True)
    return tiny_pipeline


@torch.no_grad()
def loop_by_hand(pipeline: LabelConditionalPipeline, guidance_scale: float | None) -> torch.Tensor:
    """Three clipped DDIM steps (arXiv:2010.02502, eq. 12); a guided prediction is two network calls, None is one."""
    images = torch.cat([torch.randn(1, 3, 16, 16, generator=generator) for generator in generators()])
    levels = [*pipeline.scheduler.alphas_cumprod[[999, 666, 332]], torch.tensor(1.0)]
    for timestep, level, next_level in zip([999, 666, 332], levels, levels[1:], strict=False):
        noise = pipeline.unet(images, torch.tensor(timestep), CLASS_LABELS)
        if guidance_scale is not None:
            uncond = pipeline.unet(images, torch.tensor(timestep), torch.zeros(3, 24))
            noise = uncond + guidance_scale * (noise - uncond)
        clean = ((images - (1 - level).sqrt() * noise) / level.sqrt()).clamp(-1, 1)
        noise = (images - level.sqrt() * clean) / (1 - level).sqrt()
        images = next_level.sqrt() * clean + (1 - next_level).sqrt() * noise
    return images


def test_guidance_of_one_is_the_unguided_model(pipeline: LabelConditionalPipeline) -> None:
    images = pipeline(CLASS_LABELS, 3, guidance_scale=1.0, generator=generators())
    torch.testing.assert_close(images, loop_by_hand(pipeline, None), atol=1e-2, rtol=0)  # float32 at t = 999


@pytest.mark.parametrize("guidance_scale", [0.0, 0.5, 3.0])
def test_guidance_follows_its_formula(pipeline: LabelConditionalPipeline, guidance_scale: float) -> None:
    images = pipeline(CLASS_LABELS, 3, guidance_scale=guidance_scale, generator=generators())
    torch.testing.assert_close(images, loop_by_hand(pipeline, guidance_scale), atol=1e-2, rtol=0)
    assert not torch.allclose(images, loop_by_hand(pipeline, None), atol=0.1)


def test_a_call_that_names_no_guidance_takes_that_of_the_pipeline(pipeline: LabelConditionalPipeline) -> None:
    guided = LabelConditionalPipeline(pipeline.unet, pipeline.scheduler, guidance_scale=3.0, condition_dropout=0.1)
    guided.set_progress_bar_config(disable=True)
    images = guided(CLASS_LABELS, 3, generator=generators())
    assert torch.equal(images, pipeline(CLASS_LABELS, 3, guidance_scale=3.0, generator=generators()))
    unguided = guided(CLASS_LABELS, 3, guidance_scale=1.0, generator=generators())
    assert torch.equal(unguided, pipeline(CLASS_LABELS, 3, generator=generators()))


@pytest.mark.parametrize("prediction_type", ["epsilon", "sample", "v_prediction"])
@pytest.mark.parametrize("name", SCHEDULERS)
def test_every_sampler_makes_pictures_in_range(name: str, prediction_type: Any) -> None:
    training = DDPMScheduler(beta_schedule="squaredcos_cap_v2", prediction_type=prediction_type)
    pipeline = LabelConditionalPipeline(tiny_unet(labels=OBJECTS), make_scheduler(name, training, 2))
    pipeline.set_progress_bar_config(disable=True)
    images = pipeline(CLASS_LABELS, 2, generator=generators())
    assert images.shape == (3, 3, 16, 16)
    assert images.abs().max() <= 1
    assert (torch.pdist(images.flatten(1)) > 0.1).all()
    again = pipeline(CLASS_LABELS, 2, generator=generators())
    assert torch.equal(images, again)


def test_the_callback_sees_every_noisy_picture_and_then_the_result(
    pipeline: LabelConditionalPipeline,
) -> None:
    seen: list[tuple[int, torch.Tensor]] = []
    images = pipeline(
        CLASS_LABELS,
        3,
        generator=generators(),
        callback=lambda timestep, x: seen.append((timestep, x.clone())),
    )
    assert [timestep for timestep, _ in seen] == [999, 666, 332, -1]
    first = torch.cat([torch.randn(1, 3, 16, 16, generator=generator) for generator in generators()])
    assert torch.equal(seen[0][1], first)
    assert torch.equal(seen[-1][1], images)


@pytest.mark.parametrize("shape", [(2, 23), (2, 25), (24,), (2, 0)], ids=str)
def test_labels_of_another_width_are_refused(pipeline: LabelConditionalPipeline, shape: tuple[int, ...]) -> None:
    with pytest.raises(UserError, match=r"`class_labels` must be \(B, 24\) for this model, got"):
        pipeline(torch.zeros(shape), 3)


def test_a_model_without_labels_samples_and_refuses_guidance() -> None:
    scheduler = make_scheduler("ddim", DDPMScheduler(beta_schedule="squaredcos_cap_v2"), 2)
    pipeline = LabelConditionalPipeline(tiny_unet(), scheduler)
    pipeline.set_progress_bar_config(disable=True)
    assert pipeline(torch.zeros(3, 0), 2, generator=generators()).shape == (3, 3, 16, 16)
    with pytest.raises(UserError, match=r"`guidance_scale` must be 1 for an unconditional model, got 2.0"):
        pipeline(torch.zeros(3, 0), 2, guidance_scale=2.0)


def test_a_model_that_never_saw_the_null_label_is_neither_guided_nor_sampled_under_it(
    pipeline: LabelConditionalPipeline,
) -> None:
    conditional = LabelConditionalPipeline(pipeline.unet, pipeline.scheduler)
    with pytest.raises(UserError, match=r"must be 1 for a model trained without condition dropout, got 2.0"):
        conditional(CLASS_LABELS, 3, guidance_scale=2.0)
    with pytest.raises(UserError, match="knows no null label"):
        conditional(torch.cat([CLASS_LABELS, torch.zeros(1, 24)]), 3)


def test_a_saved_pipeline_samples_the_same_pictures_with_the_same_guidance(
    pipeline: LabelConditionalPipeline, tmp_path: Path
) -> None:
    guided = LabelConditionalPipeline(pipeline.unet, pipeline.scheduler, 2.5, condition_dropout=0.2, fit="pad")
    guided.set_progress_bar_config(disable=True)
    guided.save_pretrained(tmp_path)
    loaded = LabelConditionalPipeline.from_pretrained(tmp_path, low_cpu_mem_usage=False)
    loaded.set_progress_bar_config(disable=True)
    assert loaded.config["guidance_scale"] == 2.5
    assert (loaded.config["condition_dropout"], loaded.config["fit"]) == (0.2, "pad")
    assert load_pipeline(tmp_path).config["fit"] == "pad"
    assert type(loaded.scheduler) is type(guided.scheduler)
    images = loaded(CLASS_LABELS, 3, generator=generators())
    assert torch.equal(images, guided(CLASS_LABELS, 3, generator=generators()))


def test_weights_of_half_precision_are_loaded_as_float32(pipeline: LabelConditionalPipeline, tmp_path: Path) -> None:
    expected = {key: value.half().float() for key, value in pipeline.unet.state_dict().items()}
    LabelConditionalPipeline(pipeline.unet.half(), pipeline.scheduler).save_pretrained(tmp_path)
    loaded = load_pipeline(tmp_path).unet.state_dict()
    assert {value.dtype for value in loaded.values()} == {torch.float32}
    assert all(torch.equal(loaded[key], expected[key]) for key in expected)
