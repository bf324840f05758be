"""State dicts of a plain UNet2DModel with a label layer become pipelines that compute the same."""

from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import UNet2DModel
from safetensors.torch import save_file
from torch import nn

from lab_ddpm.cli import main
from lab_ddpm.data.iclevr import OBJECTS
from lab_ddpm.generation.checkpoint import load_pipeline
from lab_ddpm.iclevr.official.import_checkpoint import import_checkpoint
from lab_ddpm.tools.errors import DataError, UserError

CHANNELS = (32, 32, 32, 32, 64, 64)


def plain_unet(**options: Any) -> UNet2DModel:
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


@torch.no_grad()
def assert_computes_the_same(net: UNet2DModel, folder: Path) -> None:
    generator = torch.Generator().manual_seed(1)
    size, channels = net.config["sample_size"], net.config["in_channels"]
    noisy = torch.randn(2, channels, size, size, generator=generator)
    class_labels = torch.zeros(2, 24)
    class_labels[0, 3] = class_labels[1, [0, 5, 23]] = 1
    timesteps = torch.tensor([7, 960])
    expected = net(noisy, timesteps, class_labels).sample
    # not bit for bit: on some CPUs the order of a sum depends on where in memory the weights are
    computed = load_pipeline(folder).denoiser(noisy, timesteps, class_labels)
    torch.testing.assert_close(computed, expected, atol=1e-5, rtol=1e-4)


def test_the_command_writes_a_pipeline_that_computes_the_same(net: UNet2DModel, tmp_path: Path) -> None:
    source, out = tmp_path / "unet.pth", tmp_path / "runs" / "report"
    torch.save(net.state_dict(), source)
    (tmp_path / "config.json").write_text('{"sample_size": 32}', encoding="utf-8")
    assert main(["import-checkpoint", str(source), "--out", str(out), "--config", str(tmp_path / "config.json")]) == 0
    assert_computes_the_same(net, out)
    config = load_pipeline(out).denoiser.config
    assert tuple(config["labels"]) == OBJECTS
    assert (tuple(config["block_out_channels"]), list(config["attention_levels"])) == (CHANNELS, [4])
    with pytest.raises(DataError, match="out"):
        import_checkpoint(source, out, {"sample_size": 32})


def test_wrapped_prefixed_and_safetensors(net: UNet2DModel, tmp_path: Path) -> None:
    prefixed = {f"module.{key}": value for key, value in net.state_dict().items()}
    torch.save({"epoch": 3, "model": prefixed, "optimizer": {"state": {}}}, tmp_path / "a.pt")
    save_file(net.state_dict(), tmp_path / "b.safetensors")
    for source in (tmp_path / "a.pt", tmp_path / "b.safetensors"):
        assert_computes_the_same(net, import_checkpoint(source, tmp_path / source.stem, {"sample_size": 32}))


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
    torch.save(net.state_dict(), tmp_path / "unet.pth")
    settings = {"sample_size": 16, "attention_head_dim": 16}
    out = import_checkpoint(tmp_path / "unet.pth", tmp_path / "out", settings, "linear", "v_prediction")
    assert_computes_the_same(net, out)
    config = load_pipeline(out).denoiser.config
    assert (config["beta_schedule"], config["prediction_type"]) == ("linear", "v_prediction")


def test_a_config_tells_what_weights_do_not(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    untold = {"norm_num_groups": 8, "downsample_padding": 0, "act_fn": "gelu", "freq_shift": 1}
    net = plain_unet(**untold, flip_sin_to_cos=False, attention_head_dim=16)
    torch.save(net.state_dict(), tmp_path / "unet.pth")
    net.save_config(tmp_path)
    command = ["import-checkpoint", str(tmp_path / "unet.pth"), "--out"]
    assert main([*command, str(tmp_path / "told"), "--config", str(tmp_path / "config.json")]) == 0
    assert_computes_the_same(net, tmp_path / "told")
    assert "assumed" not in capsys.readouterr().out
    assert main([*command, str(tmp_path / "assumed")]) == 0
    assert "norm_num_groups 32" in capsys.readouterr().out


def test_wrong_networks_are_named_and_write_nothing(net: UNet2DModel, tmp_path: Path) -> None:
    state, weights = net.state_dict(), "down_blocks.0.resnets.0.conv1.weight"
    wrong: dict[str, object] = {
        "extra.weight": {**state, "extra.weight": torch.zeros(1)},
        "conv_out.weight": {**state, "conv_out.weight": torch.zeros(6, 32, 3, 3)},
        "24": {**state, "class_embedding.weight": torch.zeros(128, 10)},
        "such weights": {**state, weights: torch.zeros(7, 32, 3, 3)},
        "state_dict": {"model": [1, 2]},
        "plain weights": {"conv_in.weight": torch.zeros(3), "code": Path("x")},
    }
    for number, (words, content) in enumerate(wrong.items()):
        source = tmp_path / f"{number}.pth"
        torch.save(content, source)
        with pytest.raises(DataError, match=f"{number}.pth.*{words}"):
            import_checkpoint(source, tmp_path / "out", {"sample_size": 32})
        assert not (tmp_path / "out").exists()


def test_wrong_files_and_numbers_are_refused(net: UNet2DModel, tmp_path: Path) -> None:
    source, out = tmp_path / "unet.pth", tmp_path / "out"
    torch.save(net.state_dict(), source)
    (tmp_path / "cut.safetensors").write_bytes(source.read_bytes()[:1000])
    for named, arguments in {
        "cut.safetensors": (tmp_path / "cut.safetensors", out),
        "none.pth": (tmp_path / "none.pth", out),
        "sample_size": (source, out, {"sample_size": 48}),
        "beta_schedule": (source, out, {"sample_size": 32}, "cosine"),
        "unet.pth": (source, out, {"sample_size": 32, "attention_head_dim": 48}),
        "attention_head_dim": (source, out, {"attention_head_dim": "x"}),
        "block_out_channels": (source, out, {"block_out_channels": [64, 128]}),
        "act_fun": (source, out, {"act_fun": "gelu"}),
        "activation": (source, out, {"act_fn": "nonsense"}),
    }.items():
        with pytest.raises(UserError, match=named):
            import_checkpoint(*arguments)  # type: ignore[arg-type]
    assert not out.exists()
