"""The pipeline is the loop of its docstring, and a pipeline as diffusers' users know them."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import EulerDiscreteScheduler, FlowMatchEulerDiscreteScheduler, HeunDiscreteScheduler
from PIL import Image

from conftest import tiny_denoiser
from gaussian_oracle import GaussianOracle
from lab_ddpm.data.conditions import encode
from lab_ddpm.data.iclevr import OBJECTS
from lab_ddpm.data.images import to_uint8
from lab_ddpm.diffusion.noise import alphas_cumprod
from lab_ddpm.diffusion.pipeline import LabelConditionalPipeline
from lab_ddpm.diffusion.reverse_process import image_seeds
from lab_ddpm.diffusion.schedulers import SCHEDULERS
from lab_ddpm.generation.checkpoint import load_pipeline
from lab_ddpm.tools.errors import DataError, UserError

CONDITIONS = ["red cube", "red cube, cyan sphere", "gray cylinder"]
CLASS_LABELS = encode([condition.split(", ") for condition in CONDITIONS], OBJECTS)


def generators(count: int = 3) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(seed) for seed in range(count)]


@pytest.fixture
def pipeline(tiny_pipeline: LabelConditionalPipeline) -> LabelConditionalPipeline:
    tiny_pipeline.set_progress_bar_config(disable=True)
    return tiny_pipeline


@torch.no_grad()
def loop_by_hand(pipeline: LabelConditionalPipeline, guidance_scale: float | None) -> torch.Tensor:
    """Three clipped DDIM steps (arXiv:2010.02502, eq. 12); a guided prediction is two network calls, None is one."""
    images = torch.stack([torch.randn(3, 16, 16, generator=generator) for generator in generators()])
    levels = [*alphas_cumprod(1000, "squaredcos_cap_v2")[[999, 666, 332]], torch.tensor(1.0)]
    predict = pipeline.denoiser.predict
    for timestep, level, next_level in zip([999, 666, 332], levels, levels[1:], strict=False):
        noise = predict(images, torch.tensor(timestep), CLASS_LABELS)
        if guidance_scale is not None:
            uncond = predict(images, torch.tensor(timestep), torch.zeros(3, 24))
            noise = uncond + guidance_scale * (noise - uncond)
        clean = ((images - (1 - level).sqrt() * noise) / level.sqrt()).clamp(-1, 1)
        noise = (images - level.sqrt() * clean) / (1 - level).sqrt()
        images = next_level.sqrt() * clean + (1 - next_level).sqrt() * noise
    return images


def test_guidance_of_one_is_the_unguided_model(pipeline: LabelConditionalPipeline) -> None:
    images = pipeline.sample(CLASS_LABELS, generators(), 3, guidance_scale=1.0)
    torch.testing.assert_close(images, loop_by_hand(pipeline, None), atol=1e-2, rtol=0)  # float32 at t = 999


@pytest.mark.parametrize("guidance_scale", [0.0, 0.5, 3.0])
def test_guidance_follows_its_formula(pipeline: LabelConditionalPipeline, guidance_scale: float) -> None:
    images = pipeline.sample(CLASS_LABELS, generators(), 3, guidance_scale)
    torch.testing.assert_close(images, loop_by_hand(pipeline, guidance_scale), atol=1e-2, rtol=0)
    assert not torch.allclose(images, loop_by_hand(pipeline, None), atol=0.1)


def test_a_call_that_names_no_guidance_takes_that_of_the_pipeline(pipeline: LabelConditionalPipeline) -> None:
    guided = LabelConditionalPipeline(pipeline.denoiser, "ddim", guidance_scale=3.0)
    guided.set_progress_bar_config(disable=True)

    def call(pipe: LabelConditionalPipeline, guidance_scale: float | None = None) -> torch.Tensor:
        return pipe(CONDITIONS, 3, guidance_scale, seed=0, output_type="pt").images

    assert torch.equal(call(guided), call(pipeline, 3.0))
    assert torch.equal(call(guided, 1.0), call(pipeline))


def test_guidance_stops_where_it_is_told_to(pipeline: LabelConditionalPipeline) -> None:
    def sample(guidance_scale: float, stop: float, **options: Any) -> tuple[torch.Tensor, list[torch.Tensor]]:
        seen: list[torch.Tensor] = []
        images = pipeline.sample(
            CLASS_LABELS,
            generators(),
            4,
            guidance_scale,
            guidance_stop=stop,
            on_state=lambda _, x: seen.append(x.clone()),
            **options,
        )
        return images, seen

    guided, unguided = sample(3.0, 1.0), sample(1.0, 1.0)
    assert torch.equal(sample(3.0, 0.0)[0], unguided[0])
    partly = sample(3.0, 0.5)  # two of the four steps: t = 999 and 749, not 499 and 249
    assert all(torch.equal(one, other) for one, other in zip(partly[1][:3], guided[1][:3], strict=True))
    assert not torch.equal(partly[1][3], guided[1][3])
    own = LabelConditionalPipeline(pipeline.denoiser, "ddim", 3.0, guidance_stop=0.5)
    assert torch.equal(own.sample(CLASS_LABELS, generators(), 4, 3.0), partly[0])
    with pytest.raises(UserError, match=r"`guidance_stop` must be in \[0, 1\], got 1.5"):
        sample(3.0, 1.5)


@pytest.mark.parametrize("prediction_type", ["epsilon", "sample", "v_prediction"])
@pytest.mark.parametrize("name", SCHEDULERS)
def test_every_sampler_makes_images_in_range(name: str, prediction_type: Any) -> None:
    pipeline = LabelConditionalPipeline(tiny_denoiser(labels=OBJECTS, prediction_type=prediction_type), name)
    images = pipeline.sample(CLASS_LABELS, generators(), 2)
    assert images.shape == (3, 3, 16, 16)
    assert images.abs().max() <= 1
    assert (torch.pdist(images.flatten(1)) > 0.1).all()
    assert torch.equal(images, pipeline.sample(CLASS_LABELS, generators(), 2))


def test_what_watches_sees_every_noisy_image_and_then_the_result(pipeline: LabelConditionalPipeline) -> None:
    seen: list[tuple[int, torch.Tensor]] = []
    images = pipeline.sample(CLASS_LABELS, generators(), 3, on_state=lambda t, x: seen.append((t, x.clone())))
    assert [timestep for timestep, _ in seen] == [999, 666, 332, -1]
    first = torch.stack([torch.randn(3, 16, 16, generator=generator) for generator in generators()])
    assert torch.equal(seen[0][1], first)
    assert torch.equal(seen[-1][1], images)


def test_names_in_and_images_out(pipeline: LabelConditionalPipeline) -> None:
    images = pipeline(CONDITIONS, 3, seed=7).images
    assert [(type(image), image.size, image.mode) for image in images] == [(Image.Image, (16, 16), "RGB")] * 3
    made_of_tuples = pipeline([("red cube",), ("cyan sphere", "red cube"), ("gray cylinder",)], 3, seed=7).images
    made_of_rows = pipeline(CLASS_LABELS, 3, seed=7).images
    made_of_numpy = pipeline(CLASS_LABELS.numpy().astype(int), 3, seed=7).images
    words = [torch.Generator().manual_seed(word) for word in image_seeds(7, 3)]
    expected = to_uint8(pipeline.sample(CLASS_LABELS, words, 3))
    as_tuple = pipeline(CONDITIONS, 3, seed=7, return_dict=False)[0]
    for each in (images, made_of_tuples, made_of_rows, made_of_numpy, as_tuple):
        np.testing.assert_array_equal(np.stack([np.asarray(image) for image in each]), expected)


def test_the_output_types_are_those_of_diffusers(pipeline: LabelConditionalPipeline) -> None:
    images = np.stack([np.asarray(image) for image in pipeline(CONDITIONS, 2, seed=0).images])
    array = pipeline(CONDITIONS, 2, seed=0, output_type="np").images
    tensor = pipeline(CONDITIONS, 2, seed=0, output_type="pt").images
    assert (array.shape, tuple(tensor.shape)) == ((3, 16, 16, 3), (3, 3, 16, 16))
    assert np.abs(array * 255 - images).max() <= 0.51
    np.testing.assert_array_equal(tensor.movedim(1, -1).numpy(), array)
    with pytest.raises(UserError, match=r"`output_type` must be one of \['pil', 'np', 'pt'\], got 'latent'"):
        pipeline(CONDITIONS, 2, output_type="latent")


def test_without_a_seed_images_are_new_and_torchs_seed_decides_them(pipeline: LabelConditionalPipeline) -> None:
    def call() -> np.ndarray:
        return pipeline(CONDITIONS, 2, output_type="np").images

    torch.manual_seed(0)
    first, second = call(), call()
    torch.manual_seed(0)
    assert np.array_equal(call(), first)
    assert not np.array_equal(first, second)


def test_one_generator_for_all_images_is_enough(pipeline: LabelConditionalPipeline) -> None:
    one, two = (
        pipeline(CONDITIONS, 2, generator=torch.Generator().manual_seed(5), output_type="pt").images for _ in range(2)
    )
    assert torch.equal(one, two)
    assert not torch.equal(one[0], one[1])


def test_a_callback_after_each_step_sees_the_sample_and_may_change_it(pipeline: LabelConditionalPipeline) -> None:
    seen: list[tuple[int, int]] = []

    def grey_at_last(pipe: Any, step: int, timestep: int, values: dict[str, Any]) -> dict[str, Any]:
        assert pipe is pipeline
        seen.append((step, timestep))
        return {"sample": torch.zeros_like(values["sample"])} if step == 2 else {}

    images = pipeline(CONDITIONS, 3, seed=0, output_type="pt", callback_on_step_end=grey_at_last).images
    assert seen == [(0, 999), (1, 666), (2, 332)]
    assert (images == 0.5).all()


def test_the_progress_bar_counts_the_calls_of_the_network(
    tiny_pipeline: LabelConditionalPipeline, capfd: pytest.CaptureFixture[str]
) -> None:
    tiny_pipeline.scheduler = HeunDiscreteScheduler()
    tiny_pipeline(CONDITIONS, 3, seed=0)
    assert "5/5" in capfd.readouterr().err.strip().split("\r")[-1]


def test_a_model_without_labels_samples() -> None:
    pipeline = LabelConditionalPipeline(tiny_denoiser(in_channels=1), "ddim")
    pipeline.set_progress_bar_config(disable=True)
    images = pipeline(batch_size=3, num_inference_steps=2, seed=0).images
    assert [image.mode for image in images] == ["L"] * 3
    assert pipeline(num_inference_steps=2, seed=0).images == images[:1]
    with pytest.raises(UserError, match=r"must be 1 where there is no condition, got 2\.0"):
        pipeline(guidance_scale=2.0)


def test_a_scheduler_that_is_put_in_place_is_brought_to_the_models_noise(pipeline: LabelConditionalPipeline) -> None:
    named = LabelConditionalPipeline(pipeline.denoiser, "euler").sample(CLASS_LABELS, generators(), 3)
    pipeline.scheduler = EulerDiscreteScheduler()  # of a linear schedule, for the prediction of noise
    assert torch.equal(pipeline.scheduler.alphas_cumprod, alphas_cumprod(1000, "squaredcos_cap_v2"))
    assert torch.equal(pipeline.sample(CLASS_LABELS, generators(), 3), named)
    with pytest.raises(UserError, match="got a FlowMatchEulerDiscreteScheduler"):
        pipeline.scheduler = FlowMatchEulerDiscreteScheduler()
    with pytest.raises(UserError, match="or a diffusers sampler with a beta schedule, got a type"):
        pipeline.scheduler = EulerDiscreteScheduler


def test_a_loaded_pipeline_takes_a_scheduler_by_its_name(pipeline: LabelConditionalPipeline, tmp_path: Path) -> None:
    pipeline.save_pretrained(tmp_path)
    for name in SCHEDULERS:
        loaded = LabelConditionalPipeline.from_pretrained(tmp_path)
        loaded.set_progress_bar_config(disable=True)
        loaded.scheduler = name
        named = LabelConditionalPipeline(pipeline.denoiser, name)
        assert type(loaded.scheduler) is type(named.scheduler)
        assert loaded.config["scheduler"] == named.config["scheduler"]
        assert torch.equal(loaded.sample(CLASS_LABELS, generators(), 3), named.sample(CLASS_LABELS, generators(), 3))
    with pytest.raises(UserError, match=r"did you mean 'ddim'\? `scheduler` must be one of"):
        pipeline.scheduler = "DDIM"


def test_from_the_middle_it_goes_on_from_noisy_images(pipeline: LabelConditionalPipeline) -> None:
    seen: dict[int, torch.Tensor] = {}
    whole = pipeline.sample(CLASS_LABELS, generators(), 4, on_state=lambda t, x: seen.update({t: x.clone()}))
    rest = pipeline.sample(CLASS_LABELS, generators(), 4, noisy_samples=seen[499], start_timestep=499)
    assert torch.equal(rest, whole)


@pytest.mark.parametrize("given", [{"noisy_samples": torch.zeros(3, 3, 16, 16)}, {"start_timestep": 499}], ids=list)
def test_noisy_images_without_their_noise_level_are_refused(
    pipeline: LabelConditionalPipeline, given: dict[str, Any]
) -> None:
    with pytest.raises(UserError, match="`noisy_samples` and `start_timestep` must be given together"):
        pipeline(CONDITIONS, 4, seed=0, **given)


@pytest.mark.parametrize(
    ("shape", "timestep", "message"),
    [
        ((2, 3, 16, 16), 499, r"`noisy_samples` must be \(3, 3, 16, 16\), got \(2, 3, 16, 16\)"),
        ((3, 3, 24, 24), 499, r"`noisy_samples` must be \(3, 3, 16, 16\), got \(3, 3, 24, 24\)"),
        ((3, 3, 16, 16), 3, "`start_timestep` must be at least 249, got 3"),
    ],
)
def test_a_noisy_start_that_does_not_fit_is_refused(
    pipeline: LabelConditionalPipeline, shape: tuple[int, ...], timestep: int, message: str
) -> None:
    with pytest.raises(UserError, match=message):
        pipeline(CONDITIONS, 4, seed=0, noisy_samples=torch.zeros(shape), start_timestep=timestep)


def test_a_sampler_that_scales_its_samples_does_not_start_in_the_middle(pipeline: LabelConditionalPipeline) -> None:
    pipeline.scheduler = EulerDiscreteScheduler()
    with pytest.raises(UserError, match="must be one that does not scale its samples"):
        pipeline(CONDITIONS, 4, noisy_samples=torch.zeros(3, 3, 16, 16), start_timestep=499)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"conditions": "red cube"}, "must be a list with one entry per image, got the text 'red cube'"),
        ({"conditions": ["red cub"]}, "did you mean 'red cube'?"),
        ({"conditions": ["red cube"], "seed": 0, "generator": generators(1)}, "must not be given both"),
        ({"conditions": []}, "must be one generator per image, got 0 for 0 conditions"),
        ({"conditions": ["red cube"], "generator": generators(2)}, "got 2 for 1 conditions"),
        ({"conditions": ["red cube"], "seed": -1}, "`seed` must be at least 0, got -1"),
        ({"conditions": ["Red Cube cyan sphere"]}, "did you mean 'red cube, cyan sphere'?"),
        ({"conditions": [[0, 1] + [0] * 22]}, "rows of numbers one .* array"),
        ({"conditions": np.zeros((2, 5))}, "must be a list or an array of .* numbers"),
        ({"batch_size": 0}, "`batch_size` must be at least 1, got 0"),
        ({"conditions": ["red cube"], "batch_size": 3}, "`batch_size` must not be given with conditions, .*, got 3"),
        ({"conditions": CLASS_LABELS, "batch_size": 1}, "`batch_size` must not be given with conditions, .*, got 1"),
        ({"conditions": ["red cube"], "guidance_scale": float("nan")}, "`guidance_scale` must be finite, got nan"),
        ({"conditions": ["red cube"], "guidance_scale": -1}, "`guidance_scale` must be positive, got -1"),
        ({"conditions": ["red cube"], "num_inference_steps": 0}, "`steps` must be between 1 and 1000, got 0"),
    ],
)
def test_bad_arguments_are_one_line(
    pipeline: LabelConditionalPipeline, arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match=message.replace("?", r"\?")):
        pipeline(**arguments)


@pytest.mark.parametrize("name", ["ddim", "unipc", "euler"])
def test_a_saved_pipeline_samples_the_same_images_with_the_same_sampler_and_guidance(
    pipeline: LabelConditionalPipeline, tmp_path: Path, name: str
) -> None:
    guided = LabelConditionalPipeline(pipeline.denoiser, name, 2.5, fit="pad")
    guided.save_pretrained(tmp_path)
    expected = guided.sample(CLASS_LABELS, generators(), 3)
    for loaded in (LabelConditionalPipeline.from_pretrained(tmp_path), load_pipeline(tmp_path)):
        assert (loaded.config["guidance_scale"], loaded.config["fit"]) == (2.5, "pad")
        assert type(loaded.scheduler) is type(guided.scheduler)
        assert torch.equal(loaded.sample(CLASS_LABELS, generators(), 3), expected)


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("pretrained/iclevr-cp", "did you mean 'pretrained/iclevr-cpu'? "),
        ("runs/absent/best", ""),
        ("somebody/absent", ""),
    ],
)
def test_what_is_neither_a_folder_nor_on_the_hub_is_one_line(name: str, hint: str) -> None:
    with pytest.raises(DataError) as caught:
        LabelConditionalPipeline.from_pretrained(name, local_files_only=True)
    assert str(caught.value) == f"{hint}{name}: no such folder, and the Hub gave no pipeline of this name"


def test_a_pipeline_of_the_hub_is_taken_from_there(pipeline: LabelConditionalPipeline, tmp_path: Path) -> None:
    repository = tmp_path / "models--somebody--cubes"  # where the Hub's client keeps what it has downloaded
    pipeline.save_pretrained(repository / "snapshots" / "abc")
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("abc", encoding="utf-8")
    loaded = LabelConditionalPipeline.from_pretrained("somebody/cubes", cache_dir=tmp_path, local_files_only=True)
    assert torch.equal(loaded.sample(CLASS_LABELS, generators(), 2), pipeline.sample(CLASS_LABELS, generators(), 2))


def test_an_error_of_a_folder_that_is_there_is_not_blamed_on_the_hub(tmp_path: Path) -> None:
    with pytest.raises(OSError, match=r"model_index\.json"):
        LabelConditionalPipeline.from_pretrained(tmp_path, local_files_only=True)


def test_in_bfloat16_the_images_are_nearly_the_same(pipeline: LabelConditionalPipeline, tmp_path: Path) -> None:
    pipeline.save_pretrained(tmp_path)
    half = LabelConditionalPipeline.from_pretrained(tmp_path, dtype=torch.bfloat16)
    half.set_progress_bar_config(disable=True)
    assert half.denoiser.dtype == torch.bfloat16
    images = [np.stack([np.asarray(i, int) for i in pipe(CONDITIONS, 3, seed=0).images]) for pipe in (pipeline, half)]
    assert 0 < np.abs(images[0] - images[1]).mean() < 6


def test_weights_of_half_precision_are_loaded_as_float32(pipeline: LabelConditionalPipeline, tmp_path: Path) -> None:
    expected = {key: value.half().float() for key, value in pipeline.denoiser.state_dict().items()}
    LabelConditionalPipeline(pipeline.denoiser.half(), "ddim").save_pretrained(tmp_path)
    loaded = load_pipeline(tmp_path).denoiser.state_dict()
    assert {value.dtype for value in loaded.values()} == {torch.float32}
    assert all(torch.equal(loaded[key], expected[key]) for key in expected)


def test_the_seeds_of_a_call_are_those_of_the_commands() -> None:
    seeds = [value for run in range(32) for value in image_seeds(run, 64)]
    assert len(set(seeds)) == len(seeds)
    assert all(0 <= value < 2**32 for value in seeds)
    assert image_seeds(3, 64)[:10] == image_seeds(3, 10)


def test_half_null_labels_and_guidance_of_the_others_go_together() -> None:
    pipeline = LabelConditionalPipeline(GaussianOracle(), "ddim")
    images = pipeline.sample(torch.tensor([[0.0, 1.0], [0.0, 0.0]]), generators(2), 50, guidance_scale=2.0)
    assert images[0].mean() > images[1].mean() + 0.3
