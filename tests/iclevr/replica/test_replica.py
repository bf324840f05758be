"""The replica: its images look like the real ones; its folder is complete after any interruption, and never mixed."""

import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from lab_ddpm.data.iclevr import OBJECTS
from lab_ddpm.data.images import read_mask
from lab_ddpm.data.metadata import read_metadata
from lab_ddpm.iclevr.replica.renderer import RECIPE, render_image
from lab_ddpm.iclevr.replica.replica import render_replica
from lab_ddpm.iclevr.replica.scenes import Scene, SceneObject, sample_scene
from lab_ddpm.tools.errors import DataError, UserError
from lab_ddpm.tools.files import MACHINE, write_json
from lab_ddpm.tools.parts import Part

pytest.importorskip("mitsuba")
FORBIDDEN = [["red cube", "blue cube"]]


@pytest.fixture(scope="module")
def replica(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("replica")
    assert render_replica(out, 2, seed=5, workers=2, forbidden=FORBIDDEN) == 6
    return out


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def at_64(scene: Scene, step: int) -> Any:
    image = Image.fromarray(render_image(scene, step)).resize((64, 64), Image.Resampling.BILINEAR)
    return np.asarray(image).astype(float)


@pytest.mark.parametrize(
    ("name", "colour"),  # medians of the object in the middle of public i-CLEVR images at 64 x 64
    [("green cylinder", (52, 91, 41)), ("brown cylinder", (102, 77, 45)), ("blue cube", (61, 78, 123))],
)
def test_an_object_has_the_colour_and_the_place_of_the_real_one(name: str, colour: tuple[int, ...]) -> None:
    scene = Scene((SceneObject(*name.split(), 0.0, 0.0, 0.8),), ((0.0, 0.0, 0.0),) * 3, 1)  # type: ignore[arg-type]
    image = at_64(scene, 0)
    inside = image[23:33, 30:34].reshape(-1, 3)  # of its box: x 28, y 21, 8 wide, 14 high
    assert np.abs(np.median(inside, axis=0) - colour).max() <= 12
    ground = image[:16]
    assert max(np.abs(np.diff(ground, axis=axis)).max() for axis in (0, 1)) <= 4  # smooth, up to the top
    assert np.abs(ground[0].mean() - 105) <= 5


def test_images_have_no_grain_and_a_step_adds_one_object() -> None:
    scene = sample_scene(0, 7)
    first, second = (at_64(dataclasses.replace(scene, sampler_seed=seed), 1) for seed in (1, 2))
    assert 0 < (first - second).std() / np.sqrt(2) < 1
    changed = (render_image(scene, 0) != render_image(scene, 1)).any(axis=2).mean()
    assert 0.005 < changed < 0.5


def test_the_layout_is_the_official_one(replica: Path) -> None:
    labels = json.loads((replica / "train.json").read_text())
    assert sorted(labels) == [f"CLEVR_train_{scene:06d}_{step}.png" for scene in range(2) for step in range(3)]
    assert labels["CLEVR_train_000001_1.png"] == sample_scene(5, 1).names(1)
    assert contents(replica / "images").keys() == labels.keys() | {"metadata.jsonl"}
    conditions, problems = read_metadata(replica / "images" / "metadata.jsonl")
    assert not problems
    assert {name: list(condition) for name, condition in conditions.items()} == labels


def test_a_mask_is_where_the_new_object_changed_the_image(replica: Path) -> None:
    names = [f"CLEVR_train_000000_{step}.png" for step in range(3)]
    images = [np.asarray(Image.open(replica / "images" / name)).astype(int) for name in names]
    labels = json.loads((replica / "train.json").read_text())
    for step in (1, 2):
        new = OBJECTS.index(labels[names[step]][-1]) + 1
        mask = read_mask(replica / "masks" / names[step], (84, 112))[..., 0] == new
        changed = np.abs(images[step] - images[step - 1]).max(axis=-1) > 8
        assert changed[mask].mean() > 0.85  # grey objects on grey ground
        assert mask[changed].mean() > 0.6  # the rest is its shadow


def test_a_second_run_renders_what_is_missing_to_the_same_bytes(replica: Path, tmp_path: Path) -> None:
    out = tmp_path / "replica"
    shutil.copytree(replica, out)
    lost = out / "images" / "CLEVR_train_000001_2.png"
    half = lost.with_name(f".writing-4194305.{MACHINE}-{lost.name}")  # no process has this number
    half.write_bytes(lost.read_bytes()[:50])
    lost.unlink()
    (out / "masks" / lost.name).unlink()
    assert render_replica(out, 2, seed=5, workers=1, forbidden=FORBIDDEN) == 1
    for part in (".", "images", "masks"):
        assert contents(out / part) == contents(replica / part)


def test_parts_of_several_machines_make_the_same_bytes(replica: Path, tmp_path: Path) -> None:
    out = tmp_path / "replica"
    for number in (2, 1):
        assert render_replica(out, 2, 5, 1, FORBIDDEN, Part(number, 2)) == 3
        assert not (out / "train.json").exists()
    assert render_replica(out, 2, 5, 1, FORBIDDEN) == 0
    for folder in (".", "images", "masks"):
        assert contents(out / folder) == contents(replica / folder)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"seed": 6}, "--seed"),
        ({"forbidden": ()}, "--with-unseen"),
        ({"num_scenes": 1}, "num_scenes"),
    ],
)
def test_another_data_set_in_the_same_folder_is_refused(replica: Path, arguments: dict[str, Any], named: str) -> None:
    before = contents(replica)
    with pytest.raises(UserError, match=named):
        render_replica(replica, **({"num_scenes": 2, "seed": 5, "forbidden": FORBIDDEN} | arguments))
    assert contents(replica) == before


@pytest.mark.parametrize(
    ("identity", "named"),
    [
        (None, r"replica\.json"),
        ({"num_scenes": 7}, "another version"),
        ({"recipe": RECIPE - 1, "seed": 0, "num_scenes": 7, "forbidden": []}, "another version"),
        ({"recipe": RECIPE, "seed": "0", "num_scenes": 7, "forbidden": []}, "seed"),
    ],
)
def test_foreign_images_and_another_identity_are_refused(
    tmp_path: Path, identity: dict[str, Any] | None, named: str
) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "CLEVR_train_000000_0.png").touch()
    if identity:
        write_json(tmp_path / "replica.json", identity)
    with pytest.raises(DataError, match=named):
        render_replica(tmp_path, 7)
    assert not (tmp_path / "train.json").exists()


def test_a_replica_that_grows_is_incomplete_until_it_is_finished(
    replica: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: object) -> None:
        raise RuntimeError("killed")

    shutil.copytree(replica, tmp_path / "grown")
    monkeypatch.setattr("lab_ddpm.iclevr.replica.replica.worker_pool", killed)
    with pytest.raises(RuntimeError, match="killed"):
        render_replica(tmp_path / "grown", 3, seed=5, workers=2, forbidden=FORBIDDEN)
    assert not (tmp_path / "grown" / "train.json").exists()


def test_ctrl_c_ends_it_without_a_half_image(tmp_path: Path) -> None:
    options = ["--num-scenes", "500", "--workers", "2", "--with-unseen", "--out", str(tmp_path)]
    process = subprocess.Popen(
        [sys.executable, "-m", "lab_ddpm", "render", *options],
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        deadline = time.monotonic() + 120
        while not list(tmp_path.glob("images/CLEVR*.png")) and time.monotonic() < deadline:
            time.sleep(0.05)
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to the workers as well
        _, errors = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 128 + signal.SIGINT
    assert "Traceback" not in errors
    assert not (tmp_path / "train.json").exists()
    images = sorted(tmp_path.glob("images/CLEVR*.png"))
    assert images
    for path in images:
        with Image.open(path) as image:
            image.load()
