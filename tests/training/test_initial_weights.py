"""A run that begins with the weights of a pipeline."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from conftest import save_random_classifiers, tiny_arguments, tiny_denoiser
from lab_ddpm.cli import main
from lab_ddpm.data.iclevr import OBJECTS
from lab_ddpm.diffusion.denoiser import Denoiser
from lab_ddpm.diffusion.pipeline import LabelConditionalPipeline
from lab_ddpm.generation.checkpoint import load_pipeline
from lab_ddpm.tools.errors import DataError, UserError
from lab_ddpm.training.initial_weights import take_weights

WITH_LAYOUT: dict[str, Any] = {"prediction_type": "sample", "patch_size": 2, "layout_scale": 2.0}
WITH_DETAIL: dict[str, Any] = {**WITH_LAYOUT, "detail_channels": (8, 16)}


def save(folder: Path, **settings: Any) -> Denoiser:
    """A pipeline of weights that no model begins with, in `folder`; returns its model."""
    denoiser = tiny_denoiser(**settings)
    for parameter in denoiser.parameters():
        torch.nn.init.normal_(parameter, generator=torch.Generator().manual_seed(parameter.numel()))
    LabelConditionalPipeline(denoiser, "ddim").save_pretrained(folder)
    return denoiser


@pytest.mark.parametrize("settings", [{}, WITH_LAYOUT, WITH_DETAIL], ids=["plain", "layout", "detail"])
def test_with_the_same_labels_all_weights_are_taken(tmp_path: Path, settings: dict[str, Any]) -> None:
    source = save(tmp_path / "source", labels=OBJECTS, **settings).state_dict()
    denoiser = tiny_denoiser(labels=OBJECTS, sample_size=32, **settings)  # of larger images
    take_weights(denoiser, tmp_path / "source")
    for key, value in denoiser.state_dict().items():
        assert torch.equal(value, source[key]), key


@torch.no_grad()
def test_with_other_labels_those_that_both_know_keep_their_embedding(tmp_path: Path) -> None:
    source = save(tmp_path / "source", labels=("dog", "cat", "cow"), **WITH_LAYOUT)
    before = tiny_denoiser(labels=("bird", "cow", "fly", "dog", "bee"), **WITH_LAYOUT)
    denoiser = tiny_denoiser(labels=("bird", "cow", "fly", "dog", "bee"), **WITH_LAYOUT)
    take_weights(denoiser, tmp_path / "source")
    old, new = (model.label_embedding for model in (source, denoiser))
    assert torch.equal(new.weight[:, [1, 3]], old.weight[:, [2, 0]])
    assert torch.equal(new.weight[:, [0, 2, 4]], before.label_embedding.weight[:, [0, 2, 4]])
    assert torch.equal(new.bias, old.bias)
    ends = ("conv_in.weight", "conv_out.weight", "conv_out.bias")
    for key, value in denoiser.unet.state_dict().items():
        given, own = source.unet.state_dict()[key], before.unet.state_dict()[key]
        if key in ends:  # 12 channels of the image, and 3 + 1 of the layout
            value, given, own = (tensor.movedim(int(key == ends[0]), 0) for tensor in (value, given, own))
            assert torch.equal(value[12:], own[12:]), key
            value, given = value[:12], given[:12]
        assert torch.equal(value, given), key


def test_a_model_may_win_labels_or_lose_them(tmp_path: Path) -> None:
    source = save(tmp_path / "source", labels=("dog",))
    denoiser = tiny_denoiser()
    take_weights(denoiser, tmp_path / "source")
    assert torch.equal(denoiser.unet.conv_in.weight, source.unet.conv_in.weight)
    LabelConditionalPipeline(denoiser, "ddim").save_pretrained(tmp_path / "unconditional")
    conditional = tiny_denoiser(labels=("dog",))
    before = conditional.label_embedding.weight.clone()
    take_weights(conditional, tmp_path / "unconditional")
    assert torch.equal(conditional.unet.conv_in.weight, source.unet.conv_in.weight)
    assert torch.equal(conditional.label_embedding.weight, before)


def test_a_model_may_win_detail_and_not_lose_it(tmp_path: Path) -> None:
    save(tmp_path / "without", labels=("dog", "cat"), **WITH_LAYOUT)
    before, denoiser = (tiny_denoiser(labels=("dog", "cat"), **WITH_DETAIL) for _ in range(2))
    take_weights(denoiser, tmp_path / "without")
    assert not torch.equal(denoiser.unet.conv_in.weight, before.unet.conv_in.weight)
    for key, value in denoiser.detailer.state_dict().items():
        assert torch.equal(value, before.detailer.state_dict()[key]), key
    source = save(tmp_path / "with", labels=("dog", "cat"), **WITH_DETAIL)
    for channels in ((), (8, 8)):
        other = tiny_denoiser(labels=("dog", "cat"), **{**WITH_DETAIL, "detail_channels": channels})
        with pytest.raises(UserError, match=r"`model.detail_channels` must be \[8, 16\] to begin with the weights of"):
            take_weights(other, tmp_path / "with")
    more = tiny_denoiser(labels=("dog", "cat", "cow"), **WITH_DETAIL)  # whose layout has other channels
    take_weights(more, tmp_path / "with")
    given, own = (model.detailer.conv_in.weight for model in (source, more))
    assert torch.equal(own[:, :6], given[:, :6])  # the two images
    assert torch.equal(more.detailer.conv_out.weight, source.detailer.conv_out.weight)


def test_a_model_may_win_a_layout_or_lose_it(tmp_path: Path) -> None:
    for own, given in ((0.0, 2.0), (2.0, 0.0)):
        source = save(tmp_path / f"{given}", labels=("dog", "cat"), **{**WITH_LAYOUT, "layout_scale": given})
        denoiser = tiny_denoiser(labels=("dog", "cat"), **{**WITH_LAYOUT, "layout_scale": own})
        take_weights(denoiser, tmp_path / f"{given}")
        assert torch.equal(denoiser.unet.conv_in.weight[:, :12], source.unet.conv_in.weight[:, :12])
        assert torch.equal(denoiser.label_embedding.weight, source.label_embedding.weight)


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        ({"block_out_channels": (32, 32)}, "model.block_out_channels"),
        ({"attention_levels": ()}, "model.attention_levels"),
        ({"beta_schedule": "linear"}, "diffusion.beta_schedule"),
        ({"prediction_type": "sample"}, "diffusion.prediction_type"),
        ({"in_channels": 1}, "in_channels"),
        ({"patch_size": 2}, "model.patch_size"),
    ],
    ids=str,
)
def test_weights_for_something_else_are_refused(tmp_path: Path, settings: dict[str, Any], name: str) -> None:
    save(tmp_path / "source", labels=OBJECTS)
    with pytest.raises(UserError, match=f"`{name}` must be .* to begin with the weights of .*source, got"):
        take_weights(tiny_denoiser(labels=OBJECTS, **settings), tmp_path / "source")
    with pytest.raises(DataError, match=r"`init_from`: .*absent: no such checkpoint folder"):
        take_weights(tiny_denoiser(labels=OBJECTS), tmp_path / "absent")


def test_a_run_begins_with_them_once(tiny_dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    save_random_classifiers()
    assert main(["train", *tiny_arguments(tmp_path, name="first", epochs=2)]) == 0
    slow = {"init_from": "runs/first/best", "optimizer__learning_rate": 1e-9, "optimizer__ema_decay": 0.9}
    assert main(["train", *tiny_arguments(tmp_path, name="second", epochs=2, **slow)]) == 0
    first, second = (load_pipeline(f"runs/{name}/best").denoiser.state_dict() for name in ("first", "second"))
    for key in first:
        torch.testing.assert_close(second[key], first[key], atol=1e-5, rtol=0)
    shutil.rmtree("runs/first")
    assert main(["train", *tiny_arguments(tmp_path, name="second", epochs=2, **slow)]) == 0  # it needs them no more
    assert main(["train", *tiny_arguments(tmp_path, name="third", epochs=2, **slow)]) == 1


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_detail_is_learnt_behind_a_network_that_stays(
    tiny_dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, optimizer: str
) -> None:
    monkeypatch.chdir(tmp_path)
    save_random_classifiers()
    settings = {"model__patch_size": 2, "model__layout_scale": 2.0, "diffusion__prediction_type": "sample"}
    settings |= {"optimizer__name": optimizer, "optimizer__ema_decay": 0.5}
    assert main(["train", *tiny_arguments(tmp_path, name="first", epochs=1, **settings)]) == 0
    settings |= {"init_from": "runs/first/best", "model__detail_channels": (8, 16), "objective__detail_only": True}
    assert main(["train", *tiny_arguments(tmp_path, name="second", epochs=1, **settings)]) == 0
    first, second = (load_pipeline(f"runs/{name}/best").denoiser for name in ("first", "second"))
    after = second.state_dict()
    for key, value in first.state_dict().items():
        assert torch.equal(after[key], value), key
    assert second.detailer.conv_out.weight.any()
    assert {name.split(".")[0] for name, weight in second.named_parameters() if weight.requires_grad} == {"detailer"}
