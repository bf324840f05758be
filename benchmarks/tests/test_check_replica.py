"""The replica looks like the real images, and the check reads it."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from check_replica import check_replica, measure_center
from lab_ddpm.iclevr.replica.renderer import render_image
from lab_ddpm.iclevr.replica.replica import render_replica
from lab_ddpm.iclevr.replica.scenes import Scene, SceneObject
from lab_ddpm.tools.errors import DataError


@pytest.mark.parametrize(
    ("name", "box", "colour"),
    [
        ("green cylinder", (28, 21, 8, 14), (52, 91, 41)),
        ("blue cube", (27, 21, 10, 14), (61, 78, 123)),
    ],
)
def test_a_single_object_looks_like_the_real_one(name: str, box: tuple[int, ...], colour: tuple[int, ...]) -> None:
    scene = Scene((SceneObject(*name.split(), 0.0, 0.0, 0.8),), ((0.0, 0.0, 0.0),) * 3, 1)
    image = Image.fromarray(render_image(scene, 0)).resize((64, 64), Image.Resampling.BILINEAR)
    measured_box, measured_colour = measure_center(np.asarray(image))
    assert np.all(np.abs(measured_box - box) <= [1, 1, 2, 1])  # the width of a cube depends on its turn
    assert np.abs(measured_colour - colour).max() <= 12


def test_the_check_reads_a_replica_and_finds_the_same_pixels(tmp_path: Path) -> None:
    render_replica(tmp_path, 2, seed=5, workers=2)
    rows = {row.what: row for row in check_replica(tmp_path)}
    for name in ("bytes: other pixels rendered again", "grain: bottom rows", "background: row 0, column 16"):
        assert rows[name].passes


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"train\.json"):
        check_replica(tmp_path)
