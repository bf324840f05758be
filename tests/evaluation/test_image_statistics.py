"""Plain images with known numbers."""

import numpy as np
import pytest

from lab_ddpm.evaluation.image_statistics import image_statistics, patch_energy, sharpness_within


def test_a_white_image_is_bright_and_nothing_else() -> None:
    statistics = image_statistics(np.full((2, 8, 8, 3), 255, dtype=np.uint8))
    assert statistics == {"brightness": 1, "contrast": 0, "saturation": 0, "sharpness": pytest.approx(0, abs=1e-6)}


def test_pure_red_is_saturated() -> None:
    images = np.zeros((1, 8, 8, 3), dtype=np.uint8)
    images[..., 0] = 255
    assert image_statistics(images)["saturation"] == 1
    assert image_statistics(images)["brightness"] == pytest.approx(1 / 3)


def test_a_chess_board_is_as_sharp_as_can_be() -> None:
    board = (np.indices((8, 8)).sum(axis=0) % 2 * 255).astype(np.uint8)[None, ..., None]
    statistics = image_statistics(board)
    assert statistics["sharpness"] == pytest.approx(1)
    assert statistics["contrast"] == pytest.approx(0.5)


def test_what_repeats_with_the_patches_is_their_energy() -> None:
    """Of a plane wave all or nothing; of white noise as much as of any frequency: 15 of 1,023 numbers."""
    steps = np.arange(32)
    for period, share in ((4, 1.0), (2, 1.0), (8, 0.0), (32, 0.0)):
        wave = np.round(128 + 100 * np.cos(2 * np.pi * steps / period)).astype(np.uint8)
        images = np.tile(wave[None, None, :, None], (2, 32, 1, 3))
        assert patch_energy(images, 4) == pytest.approx(share, abs=1e-3), period
    noise = np.random.default_rng(0).integers(0, 256, (200, 32, 32, 1)).astype(np.uint8)
    assert patch_energy(noise, 4) == pytest.approx(15 / 1023, rel=0.05)


def test_sharpness_within_a_part_is_that_of_its_pixels() -> None:
    images = np.zeros((1, 8, 8, 1), dtype=np.uint8)
    images[0, 2, 2] = 255  # a point in the upper left quarter: 1 there and 1 / 4 around it
    areas = np.array([[[True, False], [False, False]]])
    assert sharpness_within(images, areas) == pytest.approx((1 + 4 / 4) / 9)  # of 3 x 3 pixels: without the outermost
    assert sharpness_within(images, ~areas) == 0
    assert np.isnan(sharpness_within(images, areas & False))
