"""Outlines are learnt from masks, told in their places, and drawn as the training masks have them."""

import copy

import pytest
import torch

from lab_ddpm.diffusion.layout import make_layout
from lab_ddpm.diffusion.outlines import Outlines
from lab_ddpm.diffusion.place_map import make_place_map
from lab_ddpm.diffusion.places import Places, places_in
from lab_ddpm.diffusion.sample_space import SampleSpace

SPACE = SampleSpace((64, 64), 3, 4, 2, 2.0)


def bars(count: int) -> torch.Tensor:
    """Masks of two labels: 1 is upright on the left and flat on the right half, 2 is a square, twice as big below."""
    random, masks = torch.Generator().manual_seed(0), torch.zeros(count, 1, 64, 64, dtype=torch.uint8)
    for mask in masks:
        x, y = torch.randint(10, 44, (2,), generator=random).tolist()
        width, height = (4, 12) if x < 27 else (12, 4)
        mask[0, y : y + height, x : x + width] = 1
        x, y = torch.randint(10, 44, (2,), generator=random).tolist()
        side = 6 if y < 27 else 12
        mask[0, y : y + side, x : x + side] = 2
    return masks


def layout(masks: torch.Tensor) -> torch.Tensor:
    return make_layout(masks, 2, 4)


def fine(masks: torch.Tensor) -> torch.Tensor:
    """The masks as outlines show them: twice as fine as the image."""
    return masks.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)


@pytest.fixture(scope="module")
def fitted() -> Outlines:
    torch.manual_seed(0)
    outlines = Outlines(SPACE)
    outlines.fit(bars(400))
    return outlines


def test_the_nearest_outlines_look_like_the_masks_and_move_with_their_places(fitted: Outlines) -> None:
    masks = bars(20).long()
    places = fitted.nearest(layout(masks), places_in(masks, SPACE))
    drawn = fitted.masks(places)
    assert (drawn != fine(masks)).float().mean() < 0.01
    moved = fitted.masks(Places(places.labels, places.centers + torch.tensor([2.0, 0.0]), places.outlines))
    assert (moved[..., 4:] != drawn[..., :-4]).float().mean() < 0.005


def test_what_hides_an_object_does_not_change_its_outline(fitted: Outlines) -> None:
    masks = torch.zeros(1, 1, 64, 64, dtype=torch.long)
    masks[0, 0, 12:24, 12:16] = 1
    places = fitted.nearest(layout(masks), places_in(masks, SPACE, most=1))
    masks[0, 0, 21:27, 10:16] = 2
    again = fitted.nearest(layout(masks), places)
    assert (fitted.masks(again) != fitted.masks(places)).sum() <= 16


def test_outlines_are_drawn_as_labels_and_places_have_them(fitted: Outlines) -> None:
    asked = Places(torch.ones(40, 1, dtype=torch.long), torch.tensor([[[16.0, 30.0]], [[46.0, 30.0]]]).repeat(20, 1, 1))
    drawn = fitted.draw(asked, range(40))
    seen = fitted.masks(drawn)[:, 0] > 0
    heights, widths = (seen.any(dim=axis).sum(dim=1) for axis in (2, 1))
    assert (heights[::2] > widths[::2]).float().mean() > 0.8
    assert (heights[1::2] < widths[1::2]).float().mean() > 0.8
    alone = fitted.draw(asked[[7]], [7])
    assert drawn.outlines is not None
    assert alone.outlines is not None
    assert torch.equal(alone.outlines, drawn.outlines[[7]])


def test_an_outline_does_not_depend_on_the_other_objects(fitted: Outlines) -> None:
    both = Places(torch.tensor([[2, 1]]), torch.tensor([[[40.0, 40.0], [16.0, 30.0]]]))
    alone, among_others = fitted.draw(Places(both.labels[:, 1:], both.centers[:, 1:]), [3]), fitted.draw(both, [3])
    assert alone.outlines is not None
    assert among_others.outlines is not None
    assert alone.outlines[0, 0] == among_others.outlines[0, 1]


def test_the_order_of_objects_that_are_as_low_as_each_other_does_not_matter(fitted: Outlines) -> None:
    centers = torch.tensor([[[30.0, 40.0], [34.0, 40.0]]])
    maps = []
    for order in ([0, 1], [1, 0]):
        places = fitted.draw(Places(torch.tensor([[1, 2]])[:, order], centers[:, order]), [0])
        masks = fitted.masks(places)
        maps.append(make_place_map(SPACE, places, masks, SPACE.make_layout(masks)))
    assert torch.equal(*maps)


@pytest.mark.parametrize("size", [(64, 64), (30, 30)])  # 900 pixels are no whole number of bytes
def test_labels_that_never_stand_alone_have_outlines_and_unseen_labels_are_discs(size: tuple[int, int]) -> None:
    outlines = Outlines(SampleSpace(size, 3, 2, 3, 2.0))
    masks = torch.zeros(4, 1, *size, dtype=torch.uint8)
    masks[:, 0, 10:20, 8:12] = 1
    masks[:, 0, 10:12, 12:24] = 2
    outlines.fit(masks)
    centers = torch.tensor([[[10.0, 15.0], [18.0, 11.0], [20.0, 24.0]]])
    shown = outlines.masks(outlines.draw(Places(torch.tensor([[1, 2, 3]]), centers), [0]))
    assert torch.equal(shown * (shown < 3), fine(masks[:1]).long())
    radius = max(6 / 64 * size[1], 2)
    assert (shown == 3).sum().item() == pytest.approx(4 * torch.pi * radius**2, rel=0.1)


def test_half_a_pixel_is_kept_and_so_is_an_object_that_fills_most_of_the_image() -> None:
    masks = torch.zeros(1, 1, 128, 128, dtype=torch.uint8)
    masks[0, 0, 21:40, 11:30] = 1
    masks[0, 0, 44:124, 44:124] = 2
    outlines = Outlines(SPACE)
    outlines.fit(masks)
    places = outlines.draw(places_in(masks, SPACE), [0])
    drawn = outlines.masks(places)
    assert torch.equal(drawn, masks.long())
    place_map = make_place_map(SPACE, places, drawn, SPACE.make_layout(drawn))
    pixels = torch.nn.functional.pixel_shuffle(place_map[:, -16:], 4)[0, 0]
    assert pixels[15].unique().tolist() == [-1.0, -0.25, 0.5]  # half of what is behind one object, and half of nothing
    assert pixels[10, 5] == 0.5 * -0.75 + 0.5 * -0.25 - 0.125


def test_half_precision_does_not_move_outlines(fitted: Outlines) -> None:
    masks = bars(20).long()
    places = fitted.nearest(layout(masks), places_in(masks, SPACE))
    half = copy.deepcopy(fitted).to(torch.bfloat16)
    assert torch.equal(half.masks(places), fitted.masks(places))
    assert torch.equal(half.forms, fitted.forms)


def test_they_are_discs_before_they_are_learnt_and_when_nothing_is_learnt() -> None:
    places = Places(torch.tensor([[1, 0]]), torch.full((1, 2, 2), 32.0), torch.zeros(1, 2, dtype=torch.long))
    shown = Outlines(SPACE).masks(places) > 0
    assert shown.sum().item() == pytest.approx(4 * torch.pi * 36, rel=0.05)
    fitted_again = Outlines(SPACE)
    for count in (5, 0):
        fitted_again.fit(bars(20))
        fitted_again.fit(torch.zeros(count, 1, 64, 64, dtype=torch.uint8))
        assert torch.equal(fitted_again.masks(places) > 0, shown)
        assert not fitted_again.labels.any()
