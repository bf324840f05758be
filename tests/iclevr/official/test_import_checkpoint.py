"""State dicts of a plain UNet2DModel with a label layer set on it become pipelines that compute the same."""

from pathlib import Path

import pytest
import torch
from diffusers import UNet2DModel
from safetensors.torch import save_file
from torch import nn

from lab_ddpm.data.iclevr import OBJECTS
from lab_ddpm.generation.checkpoint import load_pipeline
from lab_ddpm.iclevr.official.import_checkpoint import import_checkpoint
from lab_ddpm.tools.errors import DataError, UserError

CHANNELS = (32, 32, 32, 32, 64, 64)


def plain_unet(**options) -> UNet2DModel:
    """The network of the report, narrower: six levels, attention in the fifth."""
    torch.manual_seed(0)
    settings = {
        "sample_size": 32,
        "in_channels": 3,
        "out_channels": 3,
        "layers_per_block": 2,
        "block_out_channels": CHANNELS,
        "down_block_types": ("DownBlock2D",) * 4 + ("AttnDownBlock2D", "DownBlock2D"),
        "up_block_types": ("UpBlock2D", "AttnUpBlock2D") + ("UpBlock2D",) * 4,
    }
    net = UNet2DModel(**(settings | options))
    label_layer = nn.Linear(24, 4 * net.config["block_out_channels"][0])
    net.class_embedding = label_layer  # pyright: ignore[reportAttributeAccessIssue]
    return net.eval()


@pytest.fixture(scope="module")
def net() -> UNet2DModel:
    return plain_unet()


def save(content: object, path: Path) -> Path:
    torch.save(content, path)
    return path


@torch.no_grad()
def assert_computes_the_same(net: UNet2DModel, folder: Path, **shape: int) -> None:
    size, channels = shape.get("size", 32), shape.get("channels", 3)
    denoiser = load_pipeline(folder).denoiser
    generator = torch.Generator().manual_seed(1)
    noisy_samples = torch.randn(2, channels, size, size, generator=generator)
    class_labels = torch.zeros(2, 24)
    class_labels[0, 3] = class_labels[1, [0, 5, 23]] = 1
    timesteps = torch.tensor([7, 960])
    expected = net(noisy_samples, timesteps, class_labels).sample
    # not bit for bit: on some CPUs the order of a sum depends on where in memory the weights lie
    torch.testing.assert_close(denoiser.predict(noisy_samples, timesteps, class_labels), expected, atol=1e-5, rtol=1e-4)


def test_the_pipeline_computes_the_same(net: UNet2DModel, tmp_path: Path) -> None:
    source = save(net.state_dict(), tmp_path / "unet.pth")
    out = import_checkpoint(source, tmp_path / "runs" / "report", image_size=32)
    assert_computes_the_same(net, out)
    denoiser = load_pipeline(out).denoiser
    assert denoiser.labels == OBJECTS
    config = denoiser.config
    assert (tuple(config["block_out_channels"]), list(config["attention_levels"])) == (CHANNELS, [4])
    assert (config["num_train_timesteps"], config["beta_schedule"]) == (1000, "squaredcos_cap_v2")
    assert config["prediction_type"] == "epsilon"


def test_wrapped_prefixed_and_safetensors(net: UNet2DModel, tmp_path: Path) -> None:
    state = net.state_dict()
    prefixed = {f"module.{key}": value for key, value in state.items()}
    sources = [
        save({"epoch": 3, "model": prefixed, "optimizer": {"state": {}}}, tmp_path / "a.pt"),
        save({"state_dict": state}, tmp_path / "b.bin"),
        tmp_path / "c.safetensors",
    ]
    save_file(state, sources[-1])
    for source in sources:
        assert_computes_the_same(net, import_checkpoint(source, tmp_path / source.stem, image_size=32))


def test_other_architectures_and_settings(tmp_path: Path) -> None:
    net = plain_unet(
        sample_size=16,
        in_channels=1,
        out_channels=1,
        layers_per_block=1,
        block_out_channels=(32, 64),
        down_block_types=("AttnDownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "AttnUpBlock2D"),
        attention_head_dim=16,
        resnet_time_scale_shift="scale_shift",
    )
    source = save(net.state_dict(), tmp_path / "unet.pth")
    out = import_checkpoint(source, tmp_path / "out", 16, 16, "linear", "v_prediction")
    assert_computes_the_same(net, out, size=16, channels=1)
    config = load_pipeline(out).denoiser.config
    assert (config["beta_schedule"], config["prediction_type"]) == ("linear", "v_prediction")
    with pytest.raises(UserError, match="`beta-schedule` must be one of"):
        import_checkpoint(source, tmp_path / "other", 16, 16, "cosine")


def changed(net: UNet2DModel, **entries: torch.Tensor | None) -> dict[str, torch.Tensor]:
    state = net.state_dict() | {key.replace("__", "."): value for key, value in entries.items()}
    return {key: value for key, value in state.items() if value is not None}


def test_wrong_networks_are_one_line(net: UNet2DModel, tmp_path: Path) -> None:
    wrong = {
        "unknown": changed(net, extra__weight=torch.zeros(1)),
        "missing": changed(net, mid_block__resnets__0__conv1__weight=None),
        "conv_out.weight must have the shape": changed(net, conv_out__weight=torch.zeros(6, 32, 3, 3)),
        "class_embedding must take 24": changed(net, class_embedding__weight=torch.zeros(128, 10)),
        "class_embedding.weight": changed(net, class_embedding__weight=None),
        "2 dimensions": changed(net, class_embedding__weight=torch.zeros(24)),
        "no UNet2DModel": changed(net, **{"down_blocks__0__resnets__0__conv1__weight": torch.zeros(7, 32, 3, 3)}),
        "down_blocks": {"conv_in.weight": torch.zeros(3), "class_embedding.weight": torch.zeros(128, 24)},
        "only": {"module." + key: value for key, value in net.state_dict().items()} | {"x": torch.zeros(1)},
        "state dict": {"model": [1, 2]},
        "by itself": torch.zeros(3),
        "refused": {"conv_in.weight": torch.zeros(3), "code": Path("x")},
    }
    for number, (words, content) in enumerate(wrong.items()):
        source = save(content, tmp_path / f"{number}.pth")
        with pytest.raises(DataError) as refusal:
            import_checkpoint(source, tmp_path / "out", image_size=32)
        assert words in str(refusal.value)
        assert str(source) in str(refusal.value)
        assert "\n" not in str(refusal.value)
        assert not (tmp_path / "out").exists()


def test_wrong_files_and_numbers(net: UNet2DModel, tmp_path: Path) -> None:
    source = save(net.state_dict(), tmp_path / "unet.pth")
    for name in ("cut.pth", "cut.safetensors"):
        (tmp_path / name).write_bytes(source.read_bytes()[:1000])
        with pytest.raises(DataError, match=r"broken|refused"):
            import_checkpoint(tmp_path / name, tmp_path / "out")
    with pytest.raises(DataError, match="no such"):
        import_checkpoint(tmp_path / "none.pth", tmp_path / "out")
    with pytest.raises(UserError, match="safetensors"):
        import_checkpoint(tmp_path / "unet.onnx", tmp_path / "out")
    with pytest.raises(UserError, match="multiple of 32"):
        import_checkpoint(source, tmp_path / "out", image_size=48)
    with pytest.raises(DataError, match=r"no UNet2DModel|another network"):
        import_checkpoint(source, tmp_path / "out", image_size=32, attention_head_dim=48)
    with pytest.raises(DataError, match="must not exist"):
        import_checkpoint(source, tmp_path)
