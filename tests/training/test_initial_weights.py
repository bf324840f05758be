"""A run that starts from the weights of a pipeline."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from conftest import tiny_arguments, tiny_denoiser
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
    """A pipeline with weights that no new model has, in `folder`; returns its model."""
    denoiser = tiny_denoiser(**settings)
    for parameter in denoiser.parameters():
        torch.nn.init.normal_(parameter, generator=torch.Generator().manual_seed(parameter.numel()))
    LabelConditionalPipeline(denoiser, "ddim").save_pretrained(folder)
    return denoiser


def test_with_the_same_labels_all_weights_are_taken(tmp_path: Path) -> None:
    source = save(tmp_path / "source", labels=OBJECTS, **WITH_DETAIL).state_dict()
    denoiser = tiny_denoiser(labels=OBJECTS, sample_size=32, **WITH_DETAIL)  # of larger images
    take_weights(denoiser, tmp_path / "source")
    for key, value in denoiser.state_dict().items():
        assert key.startswith("placer.outlines.") or torch.equal(value, source[key]), key


@torch.no_grad()
def test_with_other_labels_those_that_both_know_keep_their_embedding(tmp_path: Path) -> None:
    source = save(tmp_path / "source", labels=("dog", "cat", "cow"), **WITH_DETAIL)
    before, denoiser = (tiny_denoiser(labels=("bird", "cow", "fly", "dog", "bee"), **WITH_DETAIL) for _ in range(2))
    take_weights(denoiser, tmp_path / "source")
    old, new = (model.label_embedding for model in (source, denoiser))
    assert torch.equal(new.weight[:, [1, 3]], old.weight[:, [2, 0]])
    assert torch.equal(new.weight[:, [0, 2, 4]], before.label_embedding.weight[:, [0, 2, 4]])
    assert torch.equal(new.bias, old.bias)
    # 12 channels of the image in patches, or the two images of the detailer; those of the layout are not taken
    ends = {
        "unet.conv_in.weight": 12,
        "unet.conv_out.weight": 12,
        "unet.conv_out.bias": 12,
        "detailer.conv_in.weight": 6,
    }
    for key, value in denoiser.state_dict().items():
        if key.startswith(("label_embedding", "placer")):
            continue
        given, own = source.state_dict()[key], before.state_dict()[key]
        if key in ends:
            value, given, own = (tensor.movedim(int("conv_in" in key), 0) for tensor in (value, given, own))
            assert torch.equal(value[ends[key] :], own[ends[key] :]), key
            value, given = value[: ends[key]], given[: ends[key]]
        assert torch.equal(value, given), key


def test_labels_and_a_layout_may_be_added_or_dropped(tmp_path: Path) -> None:
    pets, plain = ("dog", "cat"), {**WITH_LAYOUT, "layout_scale": 0.0}
    kinds = [{"labels": pets, **WITH_LAYOUT}, {"labels": pets, **plain}, plain]
    for number, given in enumerate(kinds):
        source = save(tmp_path / str(number), **given)
        for own in kinds:
            denoiser = tiny_denoiser(**own)
            take_weights(denoiser, tmp_path / str(number))
            assert torch.equal(denoiser.unet.conv_in.weight[:, :12], source.unet.conv_in.weight[:, :12])


def test_a_detailer_may_be_added_and_not_dropped(tmp_path: Path) -> None:
    save(tmp_path / "without", labels=("dog", "cat"), **WITH_LAYOUT)
    before, denoiser = (tiny_denoiser(labels=("dog", "cat"), **WITH_DETAIL) for _ in range(2))
    take_weights(denoiser, tmp_path / "without")
    assert not torch.equal(denoiser.unet.conv_in.weight, before.unet.conv_in.weight)
    for key, value in denoiser.detailer.state_dict().items():
        assert torch.equal(value, before.detailer.state_dict()[key]), key
    save(tmp_path / "with", labels=("dog", "cat"), **WITH_DETAIL)
    for channels in ((), (8, 8)):
        other = tiny_denoiser(labels=("dog", "cat"), **{**WITH_DETAIL, "detail_channels": channels})
        with pytest.raises(UserError, match=r"model\.detail_channels"):
            take_weights(other, tmp_path / "with")


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        ({"block_out_channels": (32, 32)}, "model.block_out_channels"),
        ({"beta_schedule": "linear"}, "model.beta_schedule"),
        ({"in_channels": 1}, "init_from"),
    ],
    ids=str,
)
def test_weights_for_something_else_are_refused(tmp_path: Path, settings: dict[str, Any], name: str) -> None:
    save(tmp_path / "source", labels=OBJECTS)
    with pytest.raises(UserError, match=f"`{name}`"):
        take_weights(tiny_denoiser(labels=OBJECTS, **settings), tmp_path / "source")
    with pytest.raises(DataError, match="init_from"):
        take_weights(tiny_denoiser(labels=OBJECTS), tmp_path / "absent")


@pytest.mark.usefixtures("tiny_dataset")
def test_a_run_starts_from_them_once(tmp_path: Path) -> None:
    first, slow = tmp_path / "runs/first", {"optimizer__learning_rate": 1e-9, "evaluation__metric": "none"}
    assert main(["train", *tiny_arguments(tmp_path, name="first", evaluation__metric="none")]) == 0
    second = tiny_arguments(tmp_path, name="second", epochs=2, init_from=first / "best", **slow)
    assert main(["train", *second]) == 0
    old, new = (load_pipeline(run / "best").denoiser.state_dict() for run in (first, tmp_path / "runs/second"))
    for key in old:
        torch.testing.assert_close(new[key], old[key], atol=1e-5, rtol=0)
    shutil.rmtree(first)
    assert main(["train", *second]) == 0  # it does not need them any more
    assert main(["train", *second, "--name", "third"]) == 1
