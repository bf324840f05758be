"""Images of the replica: they look like the real ones, are free of grain, and steps add objects."""

import dataclasses
from itertools import pairwise

import numpy as np
import pytest
from PIL import Image

from lab_ddpm.iclevr.replica.check import measure_centre
from lab_ddpm.iclevr.replica.renderer import HEIGHT, WIDTH, render_image
from lab_ddpm.iclevr.replica.scenes import Scene, SceneObject, sample_scene


def squash(image):
    return np.asarray(Image.fromarray(image).resize((64, 64), Image.Resampling.BILINEAR))


def single(name):
    colour, shape = name.split()
    return Scene((SceneObject(colour, shape, 0.0, 0.0, 0.8),), ((0.0, 0.0, 0.0),) * 3, 1)


@pytest.mark.parametrize(
    ("name", "box", "colour"),
    [
        ("green cylinder", (28, 21, 8, 14), (52, 91, 41)),
        ("brown cylinder", (28, 21, 8, 14), (102, 77, 45)),
        ("blue cube", (27, 21, 10, 14), (61, 78, 123)),
        ("gray cube", (27, 21, 9, 14), (89, 89, 88)),
    ],
)
def test_a_single_object_looks_like_the_real_one(name, box, colour):
    measured_box, measured_colour = measure_centre(squash(render_image(single(name), 0)))
    tolerance = [1, 1, 2, 1]  # the width of a cube depends on its turn
    assert np.all(np.abs(measured_box - box) <= tolerance)
    assert np.abs(measured_colour - colour).max() <= 12


def test_the_ground_is_smooth_up_to_the_top():
    image = squash(render_image(single("red sphere"), 0)).astype(int)
    assert np.abs(np.diff(image[:16], axis=0)).max() <= 4
    assert np.abs(np.diff(image[:16], axis=1)).max() <= 4
    assert np.abs(image[0, ::16].mean() - 105) <= 5


def test_images_have_no_grain():
    scene = sample_scene(0, 7)
    other = dataclasses.replace(scene, sampler_seed=scene.sampler_seed + 1)
    first, second = (squash(render_image(s, 2)).astype(float) for s in (scene, other))
    assert not np.array_equal(first, second)
    assert (first - second).std() / np.sqrt(2) < 1


def test_a_step_adds_one_object_and_changes_nothing_else():
    scene = sample_scene(0, 3)
    images = [render_image(scene, step) for step in range(3)]
    assert all(image.shape == (HEIGHT, WIDTH, 3) and image.dtype == np.uint8 for image in images)
    np.testing.assert_array_equal(images[2], render_image(scene, 2))
    for before, after in pairwise(images):
        changed = (before != after).any(axis=2).mean()
        assert 0.005 < changed < 0.5


def test_a_step_that_does_not_exist_is_refused():
    with pytest.raises(ValueError, match=r"`step` must be one of \[0\], got 1"):
        render_image(single("red cube"), 1)
