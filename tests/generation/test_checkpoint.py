"""Which checkpoint is loaded, and which is refused."""

import os
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from conftest import tiny_denoiser
from lab_ddpm.diffusion.pipeline import LabelConditionalPipeline
from lab_ddpm.generation.checkpoint import checkpoint_hash, default_checkpoint, load_pipeline, open_pipeline
from lab_ddpm.generation.generate import generate
from lab_ddpm.tools.errors import DataError, UserError
from lab_ddpm.tools.shipped import find_shipped


def test_the_default_is_the_newest_run_or_the_shipped_pipeline(
    tiny_pipeline: LabelConditionalPipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert default_checkpoint() == find_shipped("pretrained/iclevr-cpu")
    for age, name in ((20, "new"), (30, "old")):
        best = tmp_path / "runs" / name / "best"
        tiny_pipeline.save_pretrained(best)
        changed = time.time() - age
        os.utime(best / "model_index.json", (changed, changed))
    assert default_checkpoint() == Path("runs/new/best")


@pytest.mark.parametrize("part", ["model_index.json", "denoiser/config.json"])
def test_a_broken_part_is_refused(tiny_pipeline: LabelConditionalPipeline, tmp_path: Path, part: str) -> None:
    tiny_pipeline.save_pretrained(tmp_path)
    (tmp_path / part).write_text("{")
    with pytest.raises(DataError, match=str(tmp_path)):
        load_pipeline(tmp_path)


def test_the_hash_covers_weights_and_settings(tiny_pipeline: LabelConditionalPipeline, tmp_path: Path) -> None:
    tiny_pipeline.save_pretrained(tmp_path / "one")
    tiny_pipeline.save_pretrained(tmp_path / "two")
    assert checkpoint_hash(tmp_path / "one") == checkpoint_hash(tmp_path / "two")
    tiny_pipeline.with_sampling(guidance_scale=2.0).save_pretrained(tmp_path / "two")
    assert checkpoint_hash(tmp_path / "one") != checkpoint_hash(tmp_path / "two")


def test_a_name_is_looked_up_on_the_hub_unless_its_folder_exists(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(DataError, match="Hub"):
        load_pipeline("someone/tiny")
    (tmp_path / "someone").mkdir()
    with pytest.raises(DataError, match=r"someone/tiny: no such checkpoint folder$"):
        load_pipeline("someone/tiny")


def test_bfloat16_is_used_where_it_is_fast_and_leaves_the_places_alone(
    tiny_pipeline: LabelConditionalPipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {"patch_size": 4, "layout_scale": 2.0, "places_dropout": 0.1, "detail_channels": (8,)}
    denoiser = tiny_denoiser(labels=("a", "b"), prediction_type="sample", **settings)
    LabelConditionalPipeline(denoiser, "ddim", 2).save_pretrained(tmp_path / "sample")
    tiny_pipeline.save_pretrained(tmp_path / "epsilon")
    images = {}
    for is_fast, dtype in ((True, torch.bfloat16), (False, torch.float32)):
        monkeypatch.setattr("lab_ddpm.generation.checkpoint.computes_in_bf16", lambda _, is_fast=is_fast: is_fast)
        pipeline = open_pipeline(tmp_path / "sample")
        dtypes = {name.split(".")[0]: weight.dtype for name, weight in pipeline.denoiser.named_parameters()}
        assert dtypes == dict.fromkeys(("unet", "label_embedding", "detailer"), dtype) | {"placer": torch.float32}
        images[is_fast] = generate(pipeline, [("a", "b")] * 2, [0, 1]).images.astype(int)
        assert open_pipeline(tmp_path / "epsilon").denoiser.dtype == torch.float32
    assert np.abs(images[True] - images[False]).mean() < 2
    with pytest.raises(UserError, match="runtime"):
        open_pipeline(tmp_path / "epsilon", runtime="bf16")


def test_bfloat16_leaves_the_clusters_alone(tmp_path: Path) -> None:
    denoiser = tiny_denoiser(num_clusters=3, condition_dropout=0.1, prediction_type="sample")
    assert denoiser.clusters is not None
    denoiser.clusters.shares.copy_(torch.tensor([0.301, 0.2, 0.499]))
    LabelConditionalPipeline(denoiser, "ddim", 2).save_pretrained(tmp_path)
    pipelines = [open_pipeline(tmp_path, runtime=name) for name in ("torch", "bf16")]
    pipelines.append(LabelConditionalPipeline.from_pretrained(tmp_path, dtype=torch.bfloat16))
    first, *others = (pipeline.denoiser.clusters.draw(range(10_000)) for pipeline in pipelines)
    assert all(torch.equal(first, other) for other in others)
    images = torch.rand(4, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    assert torch.equal(*(pipeline.denoiser.clusters.nearest(images) for pipeline in pipelines[1:]))
