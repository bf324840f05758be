"""The pipeline is one that diffusers' users know, and draws what `sample` draws."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import EulerDiscreteScheduler, FlowMatchEulerDiscreteScheduler
from PIL import Image

from conftest import tiny_denoiser
from lab_ddpm.data.conditions import encode
from lab_ddpm.data.iclevr import OBJECTS
from lab_ddpm.data.images import to_uint8
from lab_ddpm.diffusion.pipeline import LabelConditionalPipeline
from lab_ddpm.diffusion.placer import Placer
from lab_ddpm.diffusion.places import Places
from lab_ddpm.diffusion.sampling import Sampling, image_seeds, sample
from lab_ddpm.diffusion.scheduler_names import SCHEDULERS
from lab_ddpm.generation.checkpoint import load_pipeline
from lab_ddpm.tools.errors import UserError

CONDITIONS = ["red cube", "red cube, cyan sphere", "gray cylinder"]
CLASS_LABELS = encode([condition.split(", ") for condition in CONDITIONS], OBJECTS)


@pytest.fixture
def pipeline(tiny_pipeline: LabelConditionalPipeline) -> LabelConditionalPipeline:
    tiny_pipeline.set_progress_bar_config(disable=True)
    return tiny_pipeline


def draw(pipeline: LabelConditionalPipeline, steps: int | None = 3, **options: Any) -> torch.Tensor:
    pipeline.set_progress_bar_config(disable=True)
    return pipeline(CONDITIONS, steps, seed=0, output_type="pt", **options).images


def test_names_in_and_images_out(pipeline: LabelConditionalPipeline) -> None:
    images = pipeline(CONDITIONS, 3, seed=7).images
    assert [(type(image), image.size, image.mode) for image in images] == [(Image.Image, (16, 16), "RGB")] * 3
    expected = to_uint8(sample(pipeline.denoiser, CLASS_LABELS, image_seeds(7, 3), Sampling("ddim", 3)))
    for conditions in (
        CONDITIONS,
        [("red cube",), ("cyan sphere", "red cube"), ("gray cylinder",)],
        CLASS_LABELS,
        CLASS_LABELS.numpy().astype(int),
    ):
        (drawn,) = pipeline(conditions, 3, seed=7, return_dict=False)
        np.testing.assert_array_equal(np.stack([np.asarray(image) for image in drawn]), expected)


def test_the_output_types_are_those_of_diffusers(pipeline: LabelConditionalPipeline) -> None:
    images = np.stack([np.asarray(image) for image in pipeline(CONDITIONS, 2, seed=0).images])
    array, tensor = (pipeline(CONDITIONS, 2, seed=0, output_type=kind).images for kind in ("np", "pt"))
    assert (array.shape, tuple(tensor.shape)) == ((3, 16, 16, 3), (3, 3, 16, 16))
    assert np.abs(array * 255 - images).max() <= 0.51
    np.testing.assert_array_equal(tensor.movedim(1, -1).numpy(), array)


def test_a_call_that_names_no_sampling_takes_that_of_the_pipeline(pipeline: LabelConditionalPipeline) -> None:
    guided = LabelConditionalPipeline(pipeline.denoiser, "ddim", 3, guidance_scale=3.0)
    assert guided.sampling == Sampling(guided.scheduler, 3, 3.0)
    assert torch.equal(draw(guided, None), draw(pipeline, 3, guidance_scale=3.0))
    assert torch.equal(draw(guided, None), draw(pipeline.with_sampling(None, 3, 3.0), None))
    assert torch.equal(draw(guided, None, guidance_scale=1.0), draw(pipeline))


def test_a_scheduler_that_is_put_in_place_stays_itself_and_is_used_on_the_models_noise(
    pipeline: LabelConditionalPipeline,
) -> None:
    named = draw(LabelConditionalPipeline(pipeline.denoiser, "euler"))
    pipeline.scheduler = euler = EulerDiscreteScheduler()  # of a linear schedule, for the prediction of noise
    assert pipeline.scheduler is euler
    assert torch.equal(draw(pipeline), named)
    pipeline.scheduler = FlowMatchEulerDiscreteScheduler()
    with pytest.raises(UserError, match="FlowMatchEulerDiscreteScheduler"):
        draw(pipeline)


def test_images_are_new_unless_a_seed_decides_them(pipeline: LabelConditionalPipeline) -> None:
    def call() -> torch.Tensor:
        return pipeline(CONDITIONS, 2, output_type="pt").images

    torch.manual_seed(0)
    first, second = call(), call()
    torch.manual_seed(0)
    assert torch.equal(call(), first)
    assert not torch.equal(first, second)


def test_a_callback_after_each_step_sees_the_sample_and_may_change_it(pipeline: LabelConditionalPipeline) -> None:
    seen: list[tuple[int, int]] = []

    def grey_at_last(pipe: Any, step: int, timestep: int, values: dict[str, Any]) -> dict[str, Any]:
        assert pipe is pipeline
        seen.append((step, timestep))
        return {"sample": torch.zeros_like(values["sample"])} if step == 3 else {}

    images = draw(pipeline, 4, callback_on_step_end=grey_at_last)
    assert seen == [(0, 999), (1, 749), (2, 499), (3, 249)]
    assert (images == 0.5).all()


def test_the_progress_bar_counts_the_calls_of_the_network(
    tiny_pipeline: LabelConditionalPipeline, capfd: pytest.CaptureFixture[str]
) -> None:
    tiny_pipeline(CONDITIONS, 3, seed=0)
    assert "3/3" in capfd.readouterr().err.strip().split("\r")[-1]


def test_a_model_without_labels_samples() -> None:
    pipeline = LabelConditionalPipeline(tiny_denoiser(in_channels=1), "ddim")
    pipeline.set_progress_bar_config(disable=True)
    images = pipeline(batch_size=3, num_inference_steps=2, seed=0).images
    assert [image.mode for image in images] == ["L"] * 3
    assert pipeline(num_inference_steps=2, seed=0).images == images[:1]


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"conditions": "red cube"}, "`conditions`"),
        ({"conditions": ["Red Cube cyan sphere"]}, "a label"),
        ({"conditions": ["red cube"], "seed": -1}, "`seed`"),
        ({"conditions": [[0, 1] + [0] * 22]}, "a condition"),
        ({"conditions": np.zeros((2, 5))}, "`conditions`"),
        ({"conditions": np.full((1, 24), np.nan)}, "`conditions`"),
        ({"conditions": iter(["red cube"])}, "`conditions`"),
        ({"batch_size": 0}, "`batch_size`"),
        ({"conditions": ["red cube"], "batch_size": 3}, "`batch_size`"),
        ({"conditions": ["red cube"], "guidance_scale": -1}, "`guidance_scale`"),
        ({"conditions": ["red cube"], "num_inference_steps": 0}, "`steps`"),
        ({"conditions": ["red cube"], "num_inference_steps": 2.5}, "`steps`"),
        ({"conditions": ["red cube"], "output_type": "latent"}, "`output_type`"),
    ],
)
def test_bad_arguments_are_refused_by_name(
    pipeline: LabelConditionalPipeline, arguments: dict[str, Any], named: str
) -> None:
    with pytest.raises(UserError, match=named):
        pipeline(**arguments)


@pytest.mark.parametrize("name", SCHEDULERS)
def test_a_saved_pipeline_samples_the_same_images(
    pipeline: LabelConditionalPipeline, tmp_path: Path, name: str
) -> None:
    saved = LabelConditionalPipeline(pipeline.denoiser, name, 3, 2.5, fit="pad")
    saved.save_pretrained(tmp_path)
    expected = draw(saved, None)
    for loaded in (LabelConditionalPipeline.from_pretrained(tmp_path), load_pipeline(tmp_path)):
        assert (type(loaded.scheduler), loaded.config["fit"]) == (type(saved.scheduler), "pad")
        assert torch.equal(draw(loaded, None), expected)


def test_a_variant_is_saved_and_loaded_as_in_diffusers(pipeline: LabelConditionalPipeline, tmp_path: Path) -> None:
    pipeline.save_pretrained(tmp_path, variant="half", max_shard_size="100KB")
    shards = [file.name for file in tmp_path.rglob("*.safetensors")]
    assert len(shards) > 1
    assert all(name.startswith("diffusion_pytorch_model.half-0") for name in shards)
    assert torch.equal(draw(LabelConditionalPipeline.from_pretrained(tmp_path, variant="half")), draw(pipeline))


def test_a_pipeline_of_the_hub_is_taken_from_there(pipeline: LabelConditionalPipeline, tmp_path: Path) -> None:
    repository = tmp_path / "models--somebody--cubes"  # where the Hub's client keeps what it has downloaded
    pipeline.save_pretrained(repository / "snapshots" / "abc")
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("abc", encoding="utf-8")
    loaded = LabelConditionalPipeline.from_pretrained("somebody/cubes", cache_dir=tmp_path, local_files_only=True)
    assert torch.equal(draw(loaded), draw(pipeline))


def test_in_bfloat16_the_images_are_nearly_the_same(pipeline: LabelConditionalPipeline, tmp_path: Path) -> None:
    pipeline.save_pretrained(tmp_path)
    half = LabelConditionalPipeline.from_pretrained(tmp_path, dtype=torch.bfloat16)
    assert half.denoiser.dtype == torch.bfloat16
    assert 0 < (draw(pipeline) - draw(half)).abs().mean() < 0.025


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_objects_stand_in_the_same_places_in_any_precision(tmp_path: Path, dtype: torch.dtype) -> None:
    settings = {"patch_size": 2, "layout_scale": 2.0, "places_dropout": 0.1, "prediction_type": "sample"}
    denoiser = tiny_denoiser(labels=("a", "b"), sample_size=(16, 24), **settings)
    masks = torch.zeros(2, 1, 16, 24, dtype=torch.uint8)
    masks[0, 0, 3:6, 4:9], masks[1, 0, 5:12, 9:13] = 1, 2
    denoiser.placer.outlines.fit(masks)
    LabelConditionalPipeline(denoiser, "ddim", 2).save_pretrained(tmp_path)
    halves = LabelConditionalPipeline.from_pretrained(tmp_path, dtype=dtype), load_pipeline(tmp_path).to(dtype)

    def places_of(placer: Placer) -> Places:
        return placer.outlines.draw(placer.draw(torch.ones(20, 2), range(20)), range(20))

    expected = places_of(denoiser.placer)
    for half in halves:
        assert half.dtype == half.denoiser.dtype == dtype
        drawn = places_of(half.denoiser.placer)
        assert drawn.outlines is not None
        assert torch.equal(drawn.centers, expected.centers)
        assert torch.equal(drawn.outlines, expected.outlines)
    halves[1].save_pretrained(tmp_path / "half")
    assert load_pipeline(tmp_path / "half").denoiser.dtype == torch.float32


def test_weights_of_half_precision_are_loaded_as_float32(pipeline: LabelConditionalPipeline, tmp_path: Path) -> None:
    expected = {key: value.half().float() for key, value in pipeline.denoiser.state_dict().items()}
    LabelConditionalPipeline(pipeline.denoiser.half(), "ddim").save_pretrained(tmp_path)
    loaded = load_pipeline(tmp_path).denoiser.state_dict()
    assert {value.dtype for value in loaded.values()} == {torch.float32}
    assert all(torch.equal(loaded[key], expected[key]) for key in expected)
