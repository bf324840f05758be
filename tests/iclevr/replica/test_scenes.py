"""Scenes of the replica: the same for the same numbers, every object in its range and visible."""

from itertools import combinations

import pytest

from lab_ddpm.data.iclevr import OBJECTS
from lab_ddpm.iclevr.replica.scenes import (
    MIN_GAP,
    MIN_VISIBLE,
    SceneObject,
    gap,
    object_map,
    sample_scene,
    visible_shares,
)


@pytest.fixture(scope="module")
def scenes():
    return [sample_scene(0, number) for number in range(100)]


def test_same_numbers_give_the_same_scene(scenes):
    assert sample_scene(0, 7) == scenes[7]
    assert sample_scene(1, 7) != scenes[7]
    assert len({scene.sampler_seed for scene in scenes}) == len(scenes)


def test_objects_are_distinct_and_known(scenes):
    for scene in scenes:
        names = scene.names(2)
        assert len(set(names)) == 3
        assert set(names) <= set(OBJECTS)
        assert scene.names(0) == names[:1]


def test_the_first_object_is_at_the_origin_and_the_others_are_in_range(scenes):
    for scene in scenes:
        assert (scene.objects[0].x, scene.objects[0].y) == (0, 0)
        assert all(abs(item.x) <= 3 and abs(item.y) <= 3 for item in scene.objects)


def test_objects_keep_their_gap_and_stay_visible_at_every_step(scenes):
    for scene in scenes:
        assert all(gap(*pair) >= MIN_GAP for pair in combinations(scene.objects, 2))
        for step in range(3):
            assert min(visible_shares(scene.objects[: step + 1])) >= MIN_VISIBLE


def test_lamps_move_by_at_most_one_unit(scenes):
    shifts = [value for scene in scenes for shift in scene.lamp_shifts for value in shift]
    assert max(map(abs, shifts)) <= 1
    assert max(shifts) > 0.9
    assert min(shifts) < -0.9


def test_no_scene_contains_a_forbidden_combination():
    reds = [name for name in OBJECTS if name.startswith("red")]
    forbidden = [frozenset({"gray cube"}), *(frozenset({red, "blue cube"}) for red in reds)]
    drawn = [set(sample_scene(0, number, forbidden=forbidden).names(2)) for number in range(200)]
    assert not any(combination <= names for names in drawn for combination in forbidden)
    assert any("blue cube" in names for names in drawn)


def test_forbidding_everything_is_an_error():
    with pytest.raises(ValueError, match="`forbidden` must leave some combinations of 3 objects"):
        sample_scene(0, 0, forbidden=[frozenset({name}) for name in OBJECTS])


@pytest.mark.parametrize("num_objects", [0, 7])
def test_a_wrong_number_of_objects_is_named(num_objects):
    with pytest.raises(ValueError, match=rf"`num_objects` must be in \[1, 6\], got {num_objects}"):
        sample_scene(0, 0, num_objects)


def test_visible_shares_know_hiding_and_the_frame():
    front = SceneObject("red", "cube", 1.5, -1.3, 0.0)  # between the camera and the origin
    behind = SceneObject("blue", "sphere", 0.0, 0.0, 0.0)
    beside = SceneObject("gray", "cylinder", 2.0, 2.0, 0.0)
    outside = SceneObject("gray", "cylinder", -9.0, -9.0, 0.0)
    assert visible_shares([behind]) == [1.0]
    assert visible_shares([behind, beside]) == [1.0, 1.0]
    shares = visible_shares([behind, front])
    assert shares[0] < 0.6
    assert shares[1] == 1.0
    assert visible_shares([outside]) == [0.0]


def test_a_map_shows_as_much_of_every_object_as_is_visible(scenes):
    for scene in scenes[:30]:
        found = object_map(scene.objects, 112, 84)
        alone = [(object_map([item], 112, 84) > 0).sum() for item in scene.objects]
        shown = [(found == OBJECTS.index(item.name) + 1).sum() for item in scene.objects]
        shares = [part / whole for part, whole in zip(shown, alone, strict=True)]
        inside = [min(1.0, share) for share in visible_shares(scene.objects)]
        assert all(share >= visible - 0.08 for share, visible in zip(shares, inside, strict=True))
        assert found.max() <= len(OBJECTS)


def test_of_two_objects_in_one_line_the_map_shows_the_near_one():
    near, far = SceneObject("red", "cube", 1.0, -1.0, 0), SceneObject("blue", "sphere", 0.2, -0.2, 0)
    found = object_map([near, far], 112, 84)
    assert object_map([far, near], 112, 84).tolist() == found.tolist()
    both = (object_map([near], 112, 84) > 0) & (object_map([far], 112, 84) > 0)
    assert both.sum() > 20
    assert set(found[both].tolist()) == {OBJECTS.index("red cube") + 1}
