"""The replica as a whole: the same whoever renders it, finished after any interruption, never mixed."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lab_ddpm.data.iclevr import OBJECTS
from lab_ddpm.data.metadata import read_metadata
from lab_ddpm.iclevr.replica.check import check_replica
from lab_ddpm.iclevr.replica.renderer import render_image
from lab_ddpm.iclevr.replica.replica import ReplicaSummary, read_identity, render_replica
from lab_ddpm.iclevr.replica.scenes import sample_scene
from lab_ddpm.tools.errors import DataError
from lab_ddpm.tools.files import MACHINE, write_json

FORBIDDEN = [["red cube", "blue cube"]]


@pytest.fixture(scope="module")
def replica(tmp_path_factory):
    out = tmp_path_factory.mktemp("replica")
    assert render_replica(out, 2, seed=5, workers=2, forbidden=FORBIDDEN) == ReplicaSummary(6, 6)
    return out


def contents(out, folder="images"):
    return {path.name: path.read_bytes() for path in (out / folder).iterdir()}


def test_the_layout_is_the_official_one(replica):
    labels = json.loads((replica / "train.json").read_text())
    assert sorted(labels) == [f"CLEVR_train_{scene:06d}_{step}.png" for scene in range(2) for step in range(3)]
    assert contents(replica).keys() == labels.keys() | {"metadata.jsonl"}
    conditions, problems = read_metadata(replica / "images" / "metadata.jsonl")
    assert not problems
    assert {name: list(condition) for name, condition in conditions.items()} == labels
    assert labels["CLEVR_train_000001_1.png"] == sample_scene(5, 1).names(1)


def test_the_bytes_do_not_depend_on_the_workers(replica, tmp_path):
    render_replica(tmp_path, 2, seed=5, workers=1, forbidden=FORBIDDEN)
    assert contents(tmp_path) == contents(replica)
    assert contents(tmp_path, "masks") == contents(replica, "masks")
    assert (tmp_path / "train.json").read_bytes() == (replica / "train.json").read_bytes()


def test_a_mask_lies_where_the_new_object_changed_the_image(replica):
    for scene in range(2):
        images = [np.asarray(Image.open(replica / "images" / f"CLEVR_train_{scene:06d}_{k}.png")) for k in range(3)]
        for step in (1, 2):
            name = f"CLEVR_train_{scene:06d}_{step}.png"
            place = OBJECTS.index(json.loads((replica / "train.json").read_text())[name][-1]) + 1
            mask = np.asarray(Image.open(replica / "masks" / name)) == place
            changed = np.abs(images[step].astype(int) - images[step - 1]).max(axis=-1) > 8
            assert changed[mask].mean() > 0.85  # grey objects on grey ground
            assert mask[changed].mean() > 0.6  # the rest is its shadow


def test_a_second_run_renders_what_is_missing_and_cleans_up(replica, tmp_path):
    before, out = contents(replica), tmp_path / "replica"
    shutil.copytree(replica, out)
    lost = out / "images" / "CLEVR_train_000001_2.png"
    half = lost.with_name(f".writing-4194305.{MACHINE}-{lost.name}")  # there is no process of this number
    half.write_bytes(lost.read_bytes()[:50])
    lost.unlink()
    assert render_replica(out, 2, seed=5, forbidden=FORBIDDEN) == ReplicaSummary(6, 1)
    assert contents(out) == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"seed": 6}, "`seed` must be the one with which the replica was started, got 6, started with 5"),
        ({"forbidden": ()}, "`forbidden` must be the one with which the replica was started"),
        ({"num_scenes": 1}, "`num_scenes` must be at least 2, got 1"),
    ],
)
def test_another_data_set_in_the_same_folder_is_refused(replica, arguments, message):
    before = (replica / "replica.json").read_bytes()
    with pytest.raises(ValueError, match=message):
        render_replica(replica, **({"num_scenes": 2, "seed": 5, "forbidden": FORBIDDEN} | arguments))
    assert (replica / "replica.json").read_bytes() == before


def test_a_replica_that_grows_is_not_taken_for_complete_before_it_is(replica, tmp_path, monkeypatch):
    def killed(*_):
        raise RuntimeError("killed")

    shutil.copytree(replica, tmp_path / "grown")
    monkeypatch.setattr("lab_ddpm.iclevr.replica.replica.worker_pool", killed)
    with pytest.raises(RuntimeError, match="killed"):
        render_replica(tmp_path / "grown", 3, seed=5, workers=2, forbidden=FORBIDDEN)
    assert not (tmp_path / "grown" / "train.json").exists()


def test_foreign_images_are_not_mixed_with(tmp_path):
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "CLEVR_train_000000_0.png").touch()
    with pytest.raises(ValueError, match="holds another data set"):
        render_replica(tmp_path, 1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_scenes": 0}, "`num_scenes` must be at least 1, got 0"),
        ({"num_scenes": 1, "seed": -1}, "`seed` must be at least 0, got -1"),
        ({"num_scenes": 1, "workers": 0}, "`workers` must be at least 1, got 0"),
    ],
)
def test_wrong_arguments_are_named(tmp_path, arguments, message):
    with pytest.raises(ValueError, match=message):
        render_replica(tmp_path, **arguments)
    assert not list(tmp_path.iterdir())


def test_an_error_of_the_file_system_reaches_the_caller(tmp_path):
    (tmp_path / "images").touch()
    with pytest.raises(FileExistsError):
        render_replica(tmp_path, 1)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_end_it_without_a_traceback_or_a_half_image(tmp_path, number):
    code = "import sys; from lab_ddpm.cli import main; sys.exit(main(sys.argv[1:]))"
    options = ["--num-scenes", "500", "--workers", "2", "--with-unseen", "--out", str(tmp_path)]
    process = subprocess.Popen(
        [sys.executable, "-c", code, "render", *options],
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob("images/CLEVR*.png")) and time.monotonic() < deadline:
        time.sleep(0.05)
    try:
        os.killpg(process.pid, number)  # as a terminal does: to the workers as well
        _, errors = process.communicate(timeout=30)
    finally:
        process.kill()
    assert process.returncode == 128 + number
    assert "Traceback" not in errors
    assert f"{number.name}: stopping after the scenes that are being rendered" in errors
    images = sorted(tmp_path.glob("images/CLEVR*.png"))
    assert f"stopped by {number.name} after {len(images)} images; the same command goes on" in errors
    assert not (tmp_path / "train.json").exists()
    for path in images:
        scene, step = (int(part) for part in path.stem.split("_")[2:])
        assert np.array_equal(np.asarray(Image.open(path)), render_image(sample_scene(0, scene, 3), step)), path.name


def test_the_check_reads_a_replica_and_finds_the_same_pixels(replica):
    rows = {row.what: row for row in check_replica(replica)}
    assert rows["bytes: other pixels rendered again"].passes
    assert rows["grain: bottom rows"].passes
    assert rows["background: row 0, column 16"].passes
    assert " of 10  ok" in str(rows["background: row 0, column 16"])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"num_scenes": 7}, "must be a JSON object with the keys"),
        ({"recipe": 1, "seed": "0", "num_scenes": 7, "forbidden": []}, "`seed` must be of the type int, got '0'"),
        ({"recipe": 1, "seed": 0, "num_scenes": 7, "forbidden": [1]}, "must be a list of lists"),
    ],
)
def test_a_broken_identity_is_one_line(tmp_path: Path, content: dict, message: str):
    write_json(tmp_path / "replica.json", content)
    with pytest.raises(DataError, match=message):
        read_identity(tmp_path)


def test_the_check_of_an_empty_folder_says_what_is_missing(tmp_path: Path):
    with pytest.raises(ValueError, match=r"train\.json: no such file"):
        check_replica(tmp_path)
