"""The network is a plain UNet2DModel with a label embedding, and what is saved is what is loaded."""

from pathlib import Path

import pytest
import torch
from diffusers import UNet2DModel
from torch import nn

from conftest import tiny_unet
from lab_ddpm.data.conditions import OBJECTS, encode
from lab_ddpm.diffusion.denoiser import LabelConditionalUNet
from lab_ddpm.training.config_parser import parse_config

ICLEVR = Path(__file__).parents[1] / "configs" / "iclevr.yaml"


@pytest.fixture
def batch() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    random = torch.Generator().manual_seed(1)
    class_labels = encode([["red cube"], ["red cube", "cyan sphere"]])
    return torch.randn(2, 3, 16, 16, generator=random), torch.tensor([0, 999]), class_labels


@pytest.mark.parametrize("patch_size", [1, 2, 4])
@pytest.mark.parametrize("channels", [1, 3])
@torch.no_grad()
def test_the_prediction_has_the_shape_of_the_picture(patch_size: int, channels: int) -> None:
    unet = tiny_unet(labels=OBJECTS, patch_size=patch_size, in_channels=channels)
    images = torch.randn(2, channels, 16, 16)
    assert unet(images, torch.tensor([3, 9]), torch.zeros(2, 24)).shape == images.shape
    assert unet(images, torch.tensor(3), torch.zeros(2, 24)).shape == images.shape


@torch.no_grad()
def test_it_computes_what_a_plain_unet_with_a_class_embedding_computes(batch: tuple) -> None:
    unet = tiny_unet(labels=OBJECTS)
    plain = UNet2DModel(
        sample_size=16,
        block_out_channels=(32, 64),
        layers_per_block=1,
        down_block_types=("DownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "UpBlock2D"),
    )
    plain.load_state_dict(unet.unet.state_dict())
    assert isinstance(unet.label_embedding, nn.Linear)
    plain.class_embedding = unet.label_embedding  # pyright: ignore[reportAttributeAccessIssue]
    images, timesteps, class_labels = batch
    expected = plain.eval()(images, timesteps, class_labels=class_labels).sample
    torch.testing.assert_close(unet(images, timesteps, class_labels), expected)


@pytest.mark.parametrize("settings", [{}, {"patch_size": 2, "resnet_time_scale_shift": "scale_shift"}], ids=str)
@torch.no_grad()
def test_a_saved_network_predicts_bit_for_bit_the_same(tmp_path: Path, batch: tuple, settings: dict) -> None:
    unet = tiny_unet(labels=OBJECTS, **settings)
    unet.save_pretrained(tmp_path)
    loaded = LabelConditionalUNet.from_pretrained(tmp_path)
    assert tuple(loaded.config["labels"]) == OBJECTS
    assert torch.equal(loaded(*batch), unet(*batch))


@torch.no_grad()
def test_the_prediction_depends_on_every_label_and_every_timestep(batch: tuple) -> None:
    unet = tiny_unet(labels=OBJECTS)
    image = batch[0][:1].expand(25, -1, -1, -1)
    class_labels = torch.cat([torch.zeros(1, 24), torch.eye(24)])
    predictions = unet(image, torch.tensor(500), class_labels).flatten(1)
    assert (torch.pdist(predictions) > 0.01).all()
    moments = unet(image, 40 * torch.arange(25), class_labels[:1].expand(25, -1)).flatten(1)
    assert (torch.pdist(moments) > 0.01).all()


@torch.no_grad()
def test_a_network_without_labels_takes_none(tmp_path: Path, batch: tuple) -> None:
    unet = tiny_unet(patch_size=2)
    assert not [name for name, _ in unet.named_parameters() if "label" in name]
    prediction = unet(*batch[:2])
    unet.save_pretrained(tmp_path)
    assert torch.equal(LabelConditionalUNet.from_pretrained(tmp_path)(*batch[:2]), prediction)


def test_the_network_of_the_report_has_its_levels_its_attention_and_its_size() -> None:
    model = parse_config(["--config", str(ICLEVR)]).model
    with torch.device("meta"):  # shapes only: no memory, no initial weights
        unet = LabelConditionalUNet(
            labels=OBJECTS,
            sample_size=64,
            patch_size=model.patch_size,
            block_out_channels=model.block_out_channels,
            layers_per_block=model.layers_per_block,
            attention_levels=model.attention_levels,
            attention_head_dim=model.attention_head_dim,
            resnet_time_scale_shift=model.resnet_time_scale_shift,
        )
    assert sum(parameter.numel() for parameter in unet.parameters()) == pytest.approx(113.7e6, abs=0.05e6)
    assert isinstance(unet.label_embedding, nn.Linear)
    assert (unet.label_embedding.in_features, unet.label_embedding.out_features) == (24, 512)
    down = [type(block).__name__ for block in unet.unet.down_blocks]
    up = [type(block).__name__ for block in unet.unet.up_blocks]
    assert down == ["DownBlock2D"] * 4 + ["AttnDownBlock2D", "DownBlock2D"]
    assert up == ["UpBlock2D", "AttnUpBlock2D"] + ["UpBlock2D"] * 4
