"""Images for the counter: several of a kind, and the shipped counter counts them."""

from pathlib import Path

import numpy as np
import pytest

from lab_ddpm.data.iclevr import OBJECTS
from lab_ddpm.evaluation.counter import count_objects, load_counter
from lab_ddpm.evaluation.counter_training import open_counting_images
from lab_ddpm.iclevr.replica.counting import MOST_COUNTED, render_for_counting, sample_counting_scene
from lab_ddpm.tools.files import read_json
from lab_ddpm.tools.parts import Part

pytest.importorskip("mitsuba")


def test_the_shipped_counter_counts_what_was_rendered(tmp_path: Path) -> None:
    assert render_for_counting(tmp_path, 1, seed=11) == 1  # images of another seed are not used
    (tmp_path / "places.json").unlink()
    assert render_for_counting(tmp_path, 4, seed=12, part=Part(2, 2)) == 2
    assert not (tmp_path / "places.json").exists()
    assert render_for_counting(tmp_path, 4, seed=12) == 2
    assert render_for_counting(tmp_path, 4, seed=12) == 0  # nothing is rendered twice
    images, kinds = open_counting_images(tmp_path)
    places = read_json(tmp_path / "places.json")
    assert [len(objects) for objects in places.values()] == (kinds > 0).sum(dim=(1, 2)).tolist()
    counts = count_objects(load_counter(), images)
    true = [[[name for name, *_ in objects].count(kind) for kind in OBJECTS] for objects in places.values()]
    np.testing.assert_array_equal(counts, true)


def test_scenes_have_up_to_six_objects_and_repeat_kinds() -> None:
    scenes = [sample_counting_scene(0, number) for number in range(40)]
    counts = [len(scene.objects) for scene in scenes]
    assert (min(counts), max(counts)) == (1, MOST_COUNTED)
    assert any(len({item.name for item in scene.objects}) < len(scene.objects) for scene in scenes)
