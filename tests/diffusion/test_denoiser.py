"""The network is a plain UNet2DModel with a label embedding; what does not fit is refused by name."""

from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import UNet2DModel
from safetensors.torch import load_file, save_file
from torch import nn

from conftest import tiny_denoiser
from lab_ddpm.data.augmentation import NUM_AUGMENT_LABELS
from lab_ddpm.data.conditions import encode
from lab_ddpm.data.iclevr import OBJECTS
from lab_ddpm.diffusion.denoiser import Denoiser
from lab_ddpm.diffusion.layout import make_layout
from lab_ddpm.diffusion.noise import to_clean
from lab_ddpm.tools.errors import DataError, UserError

Inputs = tuple[torch.Tensor, torch.Tensor, torch.Tensor]


@pytest.fixture
def inputs() -> Inputs:
    """Two noisy images, their timesteps and their labels."""
    random = torch.Generator().manual_seed(1)
    class_labels = encode([["red cube"], ["red cube", "cyan sphere"]], OBJECTS)
    return torch.randn(2, 3, 16, 16, generator=random), torch.tensor([0, 999]), class_labels


@pytest.mark.parametrize(("patch_size", "channels", "layout_scale"), [(1, 3, 0.0), (2, 1, 2.0), (4, 3, 2.0)])
@torch.no_grad()
def test_a_sample_is_the_image_in_patches_and_its_layout(patch_size: int, channels: int, layout_scale: float) -> None:
    settings = {"patch_size": patch_size, "in_channels": channels, "layout_scale": layout_scale}
    denoiser = tiny_denoiser(labels=OBJECTS, prediction_type="sample", **settings)
    images, masks = torch.rand(2, channels, 16, 16) * 2 - 1, torch.randint(25, (2, 1, 16, 16))
    layout = make_layout(masks, 24, patch_size) if layout_scale else None
    sample = denoiser.space.encode(images, layout)
    assert sample.shape[1:] == denoiser.space.shape
    assert denoiser.space.decode(sample).equal(images)
    for timesteps in (torch.tensor([3, 9]), torch.tensor(3)):
        assert denoiser(sample, timesteps, torch.zeros(2, 24)).shape == sample.shape
    if layout_scale:
        torch.testing.assert_close(denoiser.space.layout(sample), layout)
        assert not denoiser.space.layout(denoiser.space.encode(images)).any()
        clean = denoiser.space.clip(100 * sample)
        assert denoiser.space.decode(clean).abs().max() == 1
        assert denoiser.space.layout(clean).abs().max() == 1


@torch.no_grad()
def test_it_computes_what_a_plain_unet_with_a_class_embedding_computes(inputs: Inputs) -> None:
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
    noisy, timesteps, class_labels = inputs
    expected = plain.eval()(noisy, timesteps, class_labels=class_labels).sample
    torch.testing.assert_close(denoiser(*inputs), expected)


@pytest.mark.parametrize(
    "settings", [{}, {"patch_size": 2, "prediction_type": "sample", "detail_channels": (8,)}], ids=["plain", "detail"]
)
@torch.no_grad()
def test_a_saved_model_predicts_bit_for_bit_the_same(tmp_path: Path, inputs: Inputs, settings: dict[str, Any]) -> None:
    denoiser = tiny_denoiser(labels=OBJECTS, **settings)
    denoiser.save_pretrained(tmp_path)
    loaded = Denoiser.from_pretrained(tmp_path)
    assert loaded.labels == OBJECTS
    assert all(parameter.requires_grad for parameter in loaded.parameters())
    sample = (denoiser.space.encode(inputs[0]), *inputs[1:])
    assert torch.equal(loaded(*sample), denoiser(*sample))


@pytest.mark.parametrize("changes", [{"label_embedding.bias": None}, {"unknown": torch.zeros(1)}], ids=list)
def test_weights_that_are_not_there_are_an_error_and_not_random(tmp_path: Path, changes: dict[str, Any]) -> None:
    tiny_denoiser(labels=OBJECTS).save_pretrained(tmp_path)
    (file,) = tmp_path.glob("*.safetensors")
    state = {key: value for key, value in (load_file(file) | changes).items() if value is not None}
    save_file(state, file, metadata={"format": "pt"})
    (tmp_path / "SHA256SUMS.txt").unlink()  # as of weights that another program wrote
    with pytest.raises(DataError, match=str(tmp_path)):
        Denoiser.from_pretrained(tmp_path)


def test_a_changed_byte_is_found_in_a_subfolder_too(tmp_path: Path) -> None:
    tiny_denoiser(labels=OBJECTS).save_pretrained(tmp_path / "denoiser")
    Denoiser.from_pretrained(tmp_path, subfolder="denoiser")
    (file,) = (tmp_path / "denoiser").glob("*.safetensors")
    file.write_bytes(file.read_bytes()[:-1] + b"\x55")
    with pytest.raises(DataError, match="damaged"):
        Denoiser.from_pretrained(tmp_path, subfolder="denoiser")


@torch.no_grad()
def test_the_prediction_depends_on_every_label_and_every_timestep(inputs: Inputs) -> None:
    denoiser = tiny_denoiser(labels=OBJECTS)
    noisy = inputs[0][:1].expand(25, -1, -1, -1)
    class_labels = torch.cat([torch.zeros(1, 24), torch.eye(24)])
    predictions = denoiser(noisy, torch.tensor(500), class_labels).flatten(1)
    assert (torch.pdist(predictions) > 0.01).all()
    moments = denoiser(noisy, 40 * torch.arange(25), class_labels[:1].expand(25, -1)).flatten(1)
    assert (torch.pdist(moments) > 0.01).all()


@torch.no_grad()
def test_a_model_without_labels_ignores_them(inputs: Inputs) -> None:
    denoiser = tiny_denoiser()
    assert not [name for name, _ in denoiser.named_parameters() if "label" in name]
    noisy, timesteps, class_labels = inputs
    assert torch.equal(denoiser(noisy, timesteps, class_labels), denoiser(noisy, timesteps, torch.zeros(2, 0)))


@pytest.mark.parametrize("labels", [OBJECTS, ()])
@torch.no_grad()
def test_it_is_told_of_changes_and_samples_without_any(inputs: Inputs, labels: tuple[str, ...]) -> None:
    denoiser = tiny_denoiser(labels=labels, augmentation=0.1)
    noisy, timesteps, class_labels = inputs[0], inputs[1], inputs[2][:, : len(labels)]
    unchanged, changed = (
        torch.cat([class_labels, value * torch.ones(2, NUM_AUGMENT_LABELS)], dim=1) for value in (0, 1)
    )
    plain = denoiser(noisy, timesteps, class_labels)
    assert plain.equal(denoiser(noisy, timesteps, unchanged))
    assert not plain.equal(denoiser(noisy, timesteps, changed))


@pytest.mark.parametrize("prediction_type", ["epsilon", "sample", "v_prediction"])
@pytest.mark.parametrize("clip_sample", [True, False])
@torch.no_grad()
def test_the_clean_image_is_guided_by_its_formula_and_then_clipped(
    inputs: Inputs, prediction_type: str, clip_sample: bool
) -> None:
    denoiser = tiny_denoiser(labels=OBJECTS, prediction_type=prediction_type, clip_sample=clip_sample)
    noisy, t, class_labels = inputs[0], torch.tensor(600), inputs[2]
    cond, uncond = (denoiser(noisy, t, labels) for labels in (class_labels, torch.zeros(2, 24)))
    expected = to_clean(uncond + 3 * (cond - uncond), noisy, denoiser.alpha_bar(t), prediction_type)
    if clip_sample:
        assert expected.abs().max() > 1
        expected = expected.clamp(-1, 1)
    found = denoiser.predict_clean(noisy, t, class_labels, 3.0)
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


def test_conditions_become_rows_and_an_empty_one_the_null_label() -> None:
    denoiser = tiny_denoiser(labels=OBJECTS)
    rows = denoiser.class_labels([("red cube", "cyan sphere"), ()])
    assert torch.equal(rows, torch.cat([encode([("red cube", "cyan sphere")], OBJECTS), torch.zeros(1, 24)]))
    assert tiny_denoiser().class_labels([(), ()]).shape == (2, 0)
    with pytest.raises(UserError, match="pink cube"):
        denoiser.class_labels([("pink cube",)])


@torch.no_grad()
def test_in_bfloat16_the_noise_levels_stay_exact(inputs: Inputs) -> None:
    single, half = (tiny_denoiser(labels=OBJECTS).to(dtype=dtype) for dtype in (torch.float32, torch.bfloat16))
    assert torch.equal(single.alpha_bar(inputs[1]), half.alpha_bar(inputs[1]))
    predictions = [model(*inputs) for model in (single, half)]
    assert predictions[1].dtype == torch.float32
    torch.testing.assert_close(*predictions, atol=0.1, rtol=0.1)


def test_the_default_network_is_that_of_the_report() -> None:
    with torch.device("meta"):  # shapes only: no memory, no initial weights
        denoiser = Denoiser(labels=OBJECTS)
    assert denoiser.num_parameters() == pytest.approx(113.7e6, abs=0.05e6)
    assert isinstance(denoiser.label_embedding, nn.Linear)
    assert (denoiser.label_embedding.in_features, denoiser.label_embedding.out_features) == (24, 512)
    down = [type(block).__name__ for block in denoiser.unet.down_blocks]
    assert down == ["DownBlock2D"] * 4 + ["AttnDownBlock2D", "DownBlock2D"]
    assert not denoiser.noise_scheduler.alphas_cumprod.is_meta
    assert denoiser.noise_scheduler.config["beta_schedule"] == "squaredcos_cap_v2"


@pytest.mark.parametrize(
    ("key", "settings"),
    [
        ("prediction_type", {"prediction_type": "other"}),
        ("beta_schedule", {"beta_schedule": "other"}),
        ("num_train_timesteps", {"num_train_timesteps": 1}),
        ("sample_size", {"sample_size": 17}),
        ("sample_size", {"patch_size": 3}),
        ("patch_size", {"patch_size": 0}),
        ("sample_size", {"detail_channels": (8,) * 6, "prediction_type": "sample"}),
        ("block_out_channels", {"block_out_channels": (32, 48)}),
        ("block_out_channels", {"block_out_channels": ()}),
        ("attention_levels", {"attention_levels": (2,)}),
        ("attention_head_dim", {"attention_head_dim": 128}),
        ("detail_channels", {"detail_channels": (8,), "prediction_type": "epsilon"}),
        ("detail_share", {"detail_share": 1.5}),
        ("detail_share", {"detail_share": 0.0}),
        ("detail_channels", {"detail_channels": (0,), "prediction_type": "sample"}),
        ("layout_scale", {"layout_scale": -1.0}),
        ("sample_size", {"sample_size": 0}),
        ("unet_options", {"unet_options": {"act_fn": "absent"}}),
        ("layout_scale", {"layout_scale": 2.0, "prediction_type": "sample"}),
        ("layout_scale", {"layout_scale": 2.0, "labels": OBJECTS}),
        ("layout_dropout", {"layout_dropout": 0.1}),
        ("condition_dropout", {"condition_dropout": 0.1}),
        ("condition_dropout", {"condition_dropout": 1.0, "labels": OBJECTS}),
    ],
)
def test_what_does_not_fit_is_refused_by_name(key: str, settings: dict[str, Any]) -> None:
    with torch.device("meta"), pytest.raises(UserError, match=key):
        tiny_denoiser(**settings)
