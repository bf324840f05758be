"""Plain images with known numbers, and ratios."""

import numpy as np
import pytest

from common import as_ratio, cells, image_statistics, patch_energy, share_row, sharpness_within


def test_a_ratio_is_the_median_of_its_rounds_with_their_range() -> None:
    assert as_ratio([1.5, 0.9, 1.1]) == "1.10 [0.90, 1.50]"


def test_a_share_of_nothing_is_a_dash() -> None:
    assert cells(share_row("red", [])) == ["red", "-", 0]


def test_statistics_of_red_and_of_a_chess_board() -> None:
    red = np.zeros((1, 8, 8, 3), dtype=np.uint8)
    red[..., 0] = 255
    assert image_statistics(red)["saturation"] == 1
    assert image_statistics(red)["brightness"] == pytest.approx(1 / 3)
    board = (np.indices((8, 8)).sum(axis=0) % 2 * 255).astype(np.uint8)[None, ..., None]
    assert image_statistics(board)["sharpness"] == pytest.approx(1)
    assert image_statistics(board)["contrast"] == pytest.approx(0.5)


def test_a_wave_has_its_energy_at_the_period_of_the_patches() -> None:
    """Of a plane wave all or nothing; of white noise as much as of any frequency: 15 of 1,023 numbers."""
    steps = np.arange(32)
    for period, share in ((4, 1.0), (2, 1.0), (8, 0.0), (32, 0.0)):
        wave = np.round(128 + 100 * np.cos(2 * np.pi * steps / period)).astype(np.uint8)
        images = np.tile(wave[None, None, :, None], (2, 32, 1, 3))
        assert patch_energy(images, 4) == pytest.approx(share, abs=1e-3), period
    noise = np.random.default_rng(0).integers(0, 256, (200, 32, 32, 1)).astype(np.uint8)
    assert patch_energy(noise, 4) == pytest.approx(15 / 1023, rel=0.05)


def test_sharpness_within_an_area_is_that_of_its_pixels() -> None:
    images = np.zeros((1, 8, 8, 1), dtype=np.uint8)
    images[0, 2, 2] = 255  # a point in the upper left quarter: 1 there and 1 / 4 around it
    areas = np.array([[[True, False], [False, False]]])
    assert sharpness_within(images, areas) == pytest.approx((1 + 4 / 4) / 9)  # of 3 x 3 pixels: without the outermost
    assert np.isnan(sharpness_within(images, areas & False))
