"""Changed copies of training images."""

from __future__ import annotations

import math

import pytest
import torch

from lab_ddpm.data.augmentation import NUM_UNIFORMS, augment

IMAGES = torch.rand(2, 3, 8, 12, generator=torch.Generator().manual_seed(0))
FLIP, ZOOM, TURN, SHIFT = range(4)


def change(which: int, *amounts: float, images: torch.Tensor = IMAGES) -> tuple[torch.Tensor, torch.Tensor]:
    """One change of a given amount in [-1, 1]; the last two are those of the shift."""
    uniforms = torch.full((len(images), NUM_UNIFORMS), 0.5)
    uniforms[:, which] = 0.0
    for index, amount in enumerate(amounts):
        uniforms[:, 3 + which + index] = (amount + 1) / 2
    return augment(images, uniforms, 0.4)


def test_images_that_are_not_changed_stay_as_they_are() -> None:
    images, augment_labels = augment(IMAGES, torch.rand(2, NUM_UNIFORMS), 0.0)
    assert torch.equal(images, IMAGES)
    assert not augment_labels.any()


def test_each_change_does_what_the_network_is_told() -> None:
    images, augment_labels = change(FLIP)
    torch.testing.assert_close(images, IMAGES.flip(-2))
    assert augment_labels[0].tolist() == [1, 0, 0, 0, 0, 0]
    images, augment_labels = change(SHIFT, 1 / 3, 0.5)  # of a quarter of each side: by one pixel each
    torch.testing.assert_close(images[..., :-1, :-1], IMAGES[..., 1:, 1:])
    torch.testing.assert_close(images[..., -1, :-1], IMAGES[..., -1, 1:])  # the edge is a mirror
    assert augment_labels[0].tolist() == pytest.approx([0, 0, 0, 0, 1 / 3, 0.5])
    square = IMAGES[..., :8]
    images, augment_labels = change(TURN, 0.5, images=square)
    torch.testing.assert_close(images, square.rot90(-1, (-2, -1)))
    assert augment_labels[0].tolist() == pytest.approx([0, 0, -1, 1, 0, 0], abs=1e-6)
    y, x = torch.meshgrid(torch.linspace(-1, 1, 8), torch.linspace(-1, 1, 12), indexing="ij")
    ramps = torch.stack([x, y])[None]
    images, augment_labels = change(ZOOM, 1.0, images=ramps)
    torch.testing.assert_close(images, ramps * 2**-0.4)
    assert augment_labels[0].tolist() == [0, 1, 0, 0, 0, 0]


def test_a_turn_keeps_the_shape_of_what_it_turns() -> None:
    """A disc in an image that is not square stays a disc."""
    y, x = torch.meshgrid(torch.arange(48) - 23.5, torch.arange(96) - 47.5, indexing="ij")
    disc = (x**2 + y**2 < 10**2).float()[None, None]
    for amount in (0.2, 0.7):
        turned, _ = change(TURN, amount, images=disc)
        assert float((turned - disc)[..., 24:72].abs().mean()) < 0.01
        assert math.isclose(float(turned[..., 24:72].sum()), float(disc.sum()), rel_tol=0.02)
