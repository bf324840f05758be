"""Scenes of the replica: the same for the same numbers, with all objects in range and visible."""

from itertools import combinations

import numpy as np
import pytest

from lab_ddpm.data.iclevr import OBJECTS
from lab_ddpm.iclevr.replica.scenes import (
    MIN_GAP,
    MIN_VISIBLE,
    Scene,
    SceneObject,
    center,
    gap,
    object_map,
    sample_scene,
    visible_shares,
)
from lab_ddpm.tools.errors import UserError


@pytest.fixture(scope="module")
def scenes() -> list[Scene]:
    return [sample_scene(0, number) for number in range(60)]


def test_the_same_numbers_give_the_same_scene(scenes: list[Scene]) -> None:
    assert sample_scene(0, 7) == scenes[7]
    assert sample_scene(1, 7) != scenes[7]
    assert len({scene.sampler_seed for scene in scenes}) == len(scenes)


def test_objects_are_distinct_in_range_apart_and_visible_at_every_step(scenes: list[Scene]) -> None:
    for scene in scenes:
        names = scene.names(2)
        assert len(set(names) & set(OBJECTS)) == 3
        assert scene.names(0) == names[:1]
        assert (scene.objects[0].x, scene.objects[0].y) == (0, 0)
        assert all(abs(item.x) <= 3 and abs(item.y) <= 3 for item in scene.objects)
        assert all(gap(*pair) >= MIN_GAP for pair in combinations(scene.objects, 2))
        assert all(min(visible_shares(scene.objects[: step + 1])) >= MIN_VISIBLE for step in range(3))
        assert max(abs(value) for shift in scene.lamp_shifts for value in shift) <= 1


def test_no_scene_contains_a_forbidden_combination() -> None:
    reds = [name for name in OBJECTS if name.startswith("red")]
    forbidden = [frozenset({"gray cube"}), *(frozenset({red, "blue cube"}) for red in reds)]
    drawn = [set(sample_scene(0, number, forbidden=forbidden).names(2)) for number in range(100)]
    assert not any(combination <= names for names in drawn for combination in forbidden)
    assert any("blue cube" in names for names in drawn)
    with pytest.raises(UserError, match="forbidden"):
        sample_scene(0, 0, forbidden=[frozenset({name}) for name in OBJECTS])


def test_hidden_objects_and_those_outside_the_frame_are_less_visible() -> None:
    front = SceneObject("red", "cube", 1.5, -1.3, 0.0)  # between the camera and the origin
    behind = SceneObject("blue", "sphere", 0.0, 0.0, 0.0)
    beside = SceneObject("gray", "cylinder", 2.0, 2.0, 0.0)
    assert visible_shares([behind, beside]) == [1.0, 1.0]
    hidden, whole = visible_shares([behind, front])
    assert hidden < 0.6
    assert whole == 1.0
    assert visible_shares([SceneObject("gray", "cylinder", -9.0, -9.0, 0.0)]) == [0.0]


def test_a_mask_lies_where_its_object_is(scenes: list[Scene]) -> None:
    off = []
    for item in (item for scene in scenes for item in scene.objects if item.shape == "sphere"):
        rows, columns, _ = object_map([item], 448, 336).nonzero()
        x, y = center(item)
        if columns.min() > 0 and columns.max() < 447:
            off.append((columns.mean() + 0.5 - 448 * x, rows.mean() + 0.5 - 336 * y))
    assert np.abs(np.mean(off, axis=0)).max() < 0.2  # pixels


def test_a_mask_shows_of_each_object_what_is_visible(scenes: list[Scene]) -> None:
    for scene in scenes[:20]:
        mask = object_map(scene.objects, 448, 336)
        assert mask.tolist() == object_map(scene.objects[::-1], 448, 336).tolist()  # the nearest object is on top
        alone = [(object_map([item], 448, 336) > 0).sum() for item in scene.objects]
        shown = [(mask == OBJECTS.index(item.name) + 1).sum() for item in scene.objects]
        for part, whole, share in zip(shown, alone, visible_shares(scene.objects), strict=True):
            assert part / whole >= min(1.0, share) - 0.08
