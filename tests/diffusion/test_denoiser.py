"""The network is a plain UNet2DModel with a label embedding; guidance and clipping follow their formulas."""

from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import UNet2DModel
from safetensors.torch import load_file, save_file
from torch import nn

from conftest import tiny_denoiser
from lab_ddpm.data.conditions import encode
from lab_ddpm.data.iclevr import OBJECTS
from lab_ddpm.diffusion.denoiser import Denoiser
from lab_ddpm.diffusion.layout import make_layout
from lab_ddpm.diffusion.noise import to_clean
from lab_ddpm.tools.errors import DataError, UserError
from lab_ddpm.training.config_parser import parse_config

ICLEVR = Path(__file__).parents[2] / "configs" / "iclevr.yaml"
Batch = tuple[torch.Tensor, torch.Tensor, torch.Tensor]


@pytest.fixture
def batch() -> Batch:
    """Two noisy images, their timesteps and their labels."""
    random = torch.Generator().manual_seed(1)
    class_labels = encode([["red cube"], ["red cube", "cyan sphere"]], OBJECTS)
    return torch.randn(2, 3, 16, 16, generator=random), torch.tensor([0, 999]), class_labels


@pytest.mark.parametrize("patch_size", [1, 2, 4])
@pytest.mark.parametrize("channels", [1, 3])
@torch.no_grad()
@pytest.mark.parametrize("layout_scale", [0.0, 2.0])
def test_a_sample_is_the_image_in_patches_and_its_layout(patch_size: int, channels: int, layout_scale: float) -> None:
    settings = {"patch_size": patch_size, "in_channels": channels, "layout_scale": layout_scale}
    denoiser = tiny_denoiser(labels=OBJECTS, prediction_type="sample", **settings)
    images, masks = torch.rand(2, channels, 16, 16) * 2 - 1, torch.randint(25, (2, 1, 16, 16))
    layout = make_layout(masks, 24, patch_size) if layout_scale else None
    sample = denoiser.space.encode(images, layout)
    assert sample.shape[1:] == denoiser.space.shape
    assert denoiser.space.decode(sample).equal(images)
    assert denoiser.predict(sample, torch.tensor([3, 9]), torch.zeros(2, 24)).shape == sample.shape
    assert denoiser.predict(sample, torch.tensor(3), torch.zeros(2, 24)).shape == sample.shape
    if layout_scale:
        torch.testing.assert_close(denoiser.space.layout(sample), layout)
        assert not denoiser.space.layout(denoiser.space.encode(images)).any()
        clean = denoiser.space.clip(100 * sample)
        assert denoiser.space.decode(clean).abs().max() == 1
        assert denoiser.space.layout(clean).abs().max() == 1


def test_a_layout_needs_labels_and_a_predicted_clean_sample() -> None:
    with pytest.raises(UserError, match="`layout_scale` must be 0 for a model without labels, got 2"):
        tiny_denoiser(layout_scale=2.0)
    for prediction_type in ("epsilon", "v_prediction"):
        with pytest.raises(UserError, match=f"`layout_scale` must be 0 for `prediction_type` '{prediction_type}'"):
            tiny_denoiser(labels=OBJECTS, layout_scale=2.0, prediction_type=prediction_type)


@torch.no_grad()
def test_it_computes_what_a_plain_unet_with_a_class_embedding_computes(batch: Batch) -> None:
    denoiser = tiny_denoiser(labels=OBJECTS)
    plain = UNet2DModel(
        sample_size=16,
        block_out_channels=(32, 64),
        layers_per_block=1,
        down_block_types=("DownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "UpBlock2D"),
    )
    plain.load_state_dict(denoiser.unet.state_dict())
    assert isinstance(denoiser.label_embedding, nn.Linear)
    plain.class_embedding = denoiser.label_embedding  # pyright: ignore[reportAttributeAccessIssue]
    images, timesteps, class_labels = batch
    expected = plain.eval()(images, timesteps, class_labels=class_labels).sample
    torch.testing.assert_close(denoiser.predict(images, timesteps, class_labels), expected)


@pytest.mark.parametrize("settings", [{}, {"patch_size": 2, "resnet_time_scale_shift": "scale_shift"}], ids=str)
@torch.no_grad()
def test_a_saved_model_predicts_bit_for_bit_the_same(tmp_path: Path, batch: Batch, settings: dict[str, Any]) -> None:
    denoiser = tiny_denoiser(labels=OBJECTS, **settings)
    denoiser.save_pretrained(tmp_path)
    loaded = Denoiser.from_pretrained(tmp_path)
    assert loaded.labels == OBJECTS
    sample = (denoiser.space.encode(batch[0]), *batch[1:])
    assert torch.equal(loaded.predict(*sample), denoiser.predict(*sample))


@pytest.mark.parametrize("changes", [{"label_embedding.bias": None}, {"unknown": torch.zeros(1)}], ids=list)
def test_weights_that_are_not_there_are_an_error_and_not_random(tmp_path: Path, changes: dict[str, Any]) -> None:
    tiny_denoiser(labels=OBJECTS).save_pretrained(tmp_path)
    (file,) = tmp_path.glob("*.safetensors")
    state = {key: value for key, value in (load_file(file) | changes).items() if value is not None}
    save_file(state, file, metadata={"format": "pt"})
    (tmp_path / "SHA256SUMS").unlink()  # as of weights that another program wrote
    with pytest.raises(DataError, match="the weights are those of another model"):
        Denoiser.from_pretrained(tmp_path)


@torch.no_grad()
def test_the_prediction_depends_on_every_label_and_every_timestep(batch: Batch) -> None:
    denoiser = tiny_denoiser(labels=OBJECTS)
    image = batch[0][:1].expand(25, -1, -1, -1)
    class_labels = torch.cat([torch.zeros(1, 24), torch.eye(24)])
    predictions = denoiser.predict(image, torch.tensor(500), class_labels).flatten(1)
    assert (torch.pdist(predictions) > 0.01).all()
    moments = denoiser.predict(image, 40 * torch.arange(25), class_labels[:1].expand(25, -1)).flatten(1)
    assert (torch.pdist(moments) > 0.01).all()


@torch.no_grad()
def test_a_model_without_labels_takes_no_notice_of_any(tmp_path: Path, batch: Batch) -> None:
    denoiser = tiny_denoiser(patch_size=2)
    assert not [name for name, _ in denoiser.named_parameters() if "label" in name]
    sample, timesteps, class_labels = denoiser.space.encode(batch[0]), *batch[1:]
    prediction = denoiser.predict(sample, timesteps, torch.zeros(2, 0))
    assert torch.equal(denoiser.predict(sample, timesteps, class_labels), prediction)
    denoiser.save_pretrained(tmp_path)
    assert torch.equal(Denoiser.from_pretrained(tmp_path).predict(sample, timesteps, torch.zeros(2, 0)), prediction)


@pytest.mark.parametrize("prediction_type", ["epsilon", "sample", "v_prediction"])
@pytest.mark.parametrize("clip_sample", [True, False])
@pytest.mark.parametrize("guidance_scale", [0.0, 0.5, 1.0, 3.0])
@torch.no_grad()
def test_the_clean_image_is_guided_by_its_formula_and_then_clipped(
    batch: Batch, prediction_type: str, clip_sample: bool, guidance_scale: float
) -> None:
    denoiser = tiny_denoiser(labels=OBJECTS, prediction_type=prediction_type, clip_sample=clip_sample)
    noisy, t, class_labels = batch[0], torch.tensor(600), batch[2]
    cond, uncond = (denoiser.predict(noisy, t, labels) for labels in (class_labels, torch.zeros(2, 24)))
    prediction = uncond + guidance_scale * (cond - uncond)
    expected = to_clean(prediction, noisy, denoiser.alpha_bar(t), prediction_type)
    if clip_sample:
        assert expected.abs().max() > 1
        expected = expected.clamp(-1, 1)
    found = denoiser.predict_clean(noisy, t, class_labels, guidance_scale)
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


def test_levels_between_two_timesteps_lie_between_theirs() -> None:
    denoiser = tiny_denoiser()
    whole = denoiser.alpha_bar(torch.tensor([500, 501]))
    assert torch.equal(denoiser.alpha_bar(torch.tensor([500.0, 501.0])), whole)
    sigmas = (1 / whole - 1).sqrt()
    assert denoiser.alpha_bar(torch.tensor(500.25)).item() == pytest.approx(
        1 / ((0.75 * sigmas[0] + 0.25 * sigmas[1]) ** 2 + 1).item(), rel=1e-5
    )


def test_conditions_become_rows_and_an_empty_one_the_null_label() -> None:
    denoiser = tiny_denoiser(labels=OBJECTS)
    rows = denoiser.class_labels([("red cube", "cyan sphere"), ()])
    assert torch.equal(rows, torch.cat([encode([("red cube", "cyan sphere")], OBJECTS), torch.zeros(1, 24)]))
    assert torch.equal(denoiser.null_labels(2), torch.zeros(2, 24))
    assert tiny_denoiser().class_labels([(), ()]).shape == (2, 0)
    with pytest.raises(UserError, match="got 'pink cube'"):
        denoiser.class_labels([("pink cube",)])


def test_guidance_is_what_is_asked_or_ones_own_and_none_without_a_condition() -> None:
    denoiser = tiny_denoiser(labels=OBJECTS)
    rows, nothing = denoiser.class_labels([("red cube",), ()]), denoiser.null_labels(2)
    assert denoiser.check_guidance(rows, None, 3.0) == 3.0
    assert denoiser.check_guidance(rows, 2.0, 3.0) == 2.0
    assert denoiser.check_guidance(nothing, None, 3.0) == 1.0
    for model, labels in ((denoiser, nothing), (tiny_denoiser(), torch.zeros(2, 0))):
        with pytest.raises(UserError, match=r"`guidance_scale` must be 1 where there is no condition, got 2.0"):
            model.check_guidance(labels, 2.0, 3.0)


def test_a_model_that_never_saw_the_null_label_is_neither_guided_nor_sampled_under_it() -> None:
    denoiser = tiny_denoiser(labels=OBJECTS, condition_dropout=0.0)
    rows = denoiser.class_labels([("red cube",), ("cyan sphere",)])
    assert denoiser.check_guidance(rows, None, 1.0) == 1.0
    with pytest.raises(UserError, match=r"must be 1 for a model without condition dropout, got 2.0"):
        denoiser.check_guidance(rows, 2.0, 1.0)
    with pytest.raises(UserError, match="knows no null label"):
        denoiser.check_guidance(denoiser.class_labels([("red cube",), ()]), None, 1.0)


@pytest.mark.parametrize("shape", [(2, 23), (2, 25), (24,), (2, 0)], ids=str)
def test_labels_of_another_width_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(UserError, match=r"`class_labels` must be \(B, 24\) for this model, got"):
        tiny_denoiser(labels=OBJECTS).check_guidance(torch.zeros(shape), None, 1.0)


@torch.no_grad()
def test_in_bfloat16_the_noise_levels_stay_exact(batch: Batch) -> None:
    single, half = (tiny_denoiser(labels=OBJECTS).to(dtype=dtype) for dtype in (torch.float32, torch.bfloat16))
    assert torch.equal(single.alpha_bar(batch[1]), half.alpha_bar(batch[1]))
    predictions = [model.predict(*batch) for model in (single, half)]
    assert predictions[1].dtype == torch.float32
    torch.testing.assert_close(*predictions, atol=0.1, rtol=0.1)


def test_the_network_of_the_report_has_its_levels_its_attention_and_its_size() -> None:
    model = parse_config(["--config", str(ICLEVR)]).model
    with torch.device("meta"):  # shapes only: no memory, no initial weights
        denoiser = Denoiser(
            labels=OBJECTS,
            sample_size=64,
            patch_size=model.patch_size,
            block_out_channels=model.block_out_channels,
            layers_per_block=model.layers_per_block,
            attention_levels=model.attention_levels,
            attention_head_dim=model.attention_head_dim,
            resnet_time_scale_shift=model.resnet_time_scale_shift,
        )
    assert sum(parameter.numel() for parameter in denoiser.parameters()) == pytest.approx(113.7e6, abs=0.05e6)
    assert isinstance(denoiser.label_embedding, nn.Linear)
    assert (denoiser.label_embedding.in_features, denoiser.label_embedding.out_features) == (24, 512)
    down = [type(block).__name__ for block in denoiser.unet.down_blocks]
    up = [type(block).__name__ for block in denoiser.unet.up_blocks]
    assert down == ["DownBlock2D"] * 4 + ["AttnDownBlock2D", "DownBlock2D"]
    assert up == ["UpBlock2D", "AttnUpBlock2D"] + ["UpBlock2D"] * 4
