"""An edit changes one object; everything away from it stays as it is, to the pixel."""

import numpy as np
import pytest
import torch

from lab_ddpm.data.images import Images, to_uint8
from lab_ddpm.diffusion.pipeline import LabelConditionalPipeline
from lab_ddpm.generation.editing import Edited, NotEdited, add_object, move_object, remove_object, replace_object
from lab_ddpm.generation.placing import Place
from lab_ddpm.tools.errors import UserError
from painting_oracle import LABELS, PaintingOracle, paint

DARK, BRIGHT, GROUND = 25, 230, 128


@pytest.fixture
def pipeline() -> LabelConditionalPipeline:
    return LabelConditionalPipeline(PaintingOracle(), "ddim", 10)


@pytest.fixture
def image() -> Images:
    """A dark object on the left, a bright one on the right, and a ground that no model would paint."""
    masks = torch.zeros(1, 1, 8, 8, dtype=torch.long)
    masks[0, 0, 2:4, 1:3], masks[0, 0, 4:6, 5:7] = 1, 2
    painted = to_uint8(paint(masks))[0].copy()
    painted[painted == GROUND] = np.random.default_rng(0).integers(110, 146, (painted == GROUND).sum())
    return painted


def check_only_the_region_changed(edited: Edited, image: Images, most: float = 0.5) -> None:
    region = edited.region.numpy()
    assert 0 < region.mean() < most
    np.testing.assert_array_equal(edited.image[~region], image[~region])


def test_a_removed_or_replaced_object_is_gone(pipeline: LabelConditionalPipeline, image: Images) -> None:
    removed = remove_object(pipeline, image, LABELS, "dark")
    replaced = replace_object(pipeline, removed.image, ("bright",), "bright", "dark")
    for edited, before, area, value in (
        (removed, image, np.s_[8:16, 4:12], GROUND),
        (replaced, removed.image, np.s_[16:24, 20:28], DARK),
    ):
        check_only_the_region_changed(edited, before)
        assert (edited.image[area] == value).all()
    assert (removed.condition, replaced.condition) == (("bright",), ("dark",))


def test_the_hidden_part_of_an_object_appears_and_what_was_seen_of_others_stays(
    pipeline: LabelConditionalPipeline,
) -> None:
    masks = torch.zeros(1, 1, 8, 8, dtype=torch.long)
    masks[0, 0, 2:4, 1:3] = 1
    masks[0, 0, 3:5, 2:4] = 2
    image = to_uint8(paint(masks))[0].copy()
    image[9, 6:8] += 3
    image[17:19, 13:15] -= 3
    without_dark, without_bright = (remove_object(pipeline, image, LABELS, label).image for label in LABELS)
    np.testing.assert_array_equal(without_dark[17:19, 13:15], image[17:19, 13:15])
    np.testing.assert_array_equal(without_bright[9, 6:8], image[9, 6:8])
    assert (without_bright[12:15, 8:11] == DARK).all()


def test_an_added_object_stands_in_its_place(pipeline: LabelConditionalPipeline, image: Images) -> None:
    alone = image.copy()
    alone[16:24, 20:28] = GROUND
    edited = add_object(pipeline, alone, ("dark",), Place("bright", 22, 26))
    check_only_the_region_changed(edited, alone)
    assert edited.condition == ("dark", "bright")
    assert edited.image[26, 22].tolist() == [BRIGHT] * 3
    assert (edited.image[8:16, 4:12] == DARK).all()
    with pytest.raises(NotEdited):
        add_object(pipeline, alone, ("dark",), Place("bright", 8, 12))


def test_a_moved_object_stands_in_its_new_place(pipeline: LabelConditionalPipeline, image: Images) -> None:
    edited = move_object(pipeline, image, LABELS, Place("dark", 26, 6))
    check_only_the_region_changed(edited, image, most=0.6)  # two places
    assert edited.condition == LABELS
    assert edited.image[6, 26].tolist() == [DARK] * 3
    assert (edited.image[8:16, 4:12] == GROUND).all()
    with pytest.raises(NotEdited):
        move_object(pipeline, image, LABELS, Place("dark", 24, 20))


def test_what_cannot_be_edited_is_refused(pipeline: LabelConditionalPipeline, image: Images) -> None:
    with pytest.raises(UserError, match="bright"):
        remove_object(pipeline, image, ("dark",), "bright")
    with pytest.raises(UserError, match="dark"):
        remove_object(pipeline, image, ("dark",), "dark")
    with pytest.raises(UserError, match="twice"):
        replace_object(pipeline, image, LABELS, "dark", "bright")
    with pytest.raises(NotEdited, match="dark"):
        remove_object(pipeline, np.full_like(image, GROUND), LABELS, "dark")
    with pytest.raises(NotEdited, match="hidden or outside"):
        add_object(pipeline, image, ("dark",), Place("bright", 31, 31))
    with pytest.raises(UserError, match="uint8"):
        remove_object(pipeline, image / 255, LABELS, "dark")
    with pytest.raises(UserError, match="list of labels"):
        remove_object(pipeline, image, "dark", "dark")
    blind = LabelConditionalPipeline(PaintingOracle(layout_dropout=0.0), "ddim")
    with pytest.raises(UserError, match="layout_dropout"):
        remove_object(blind, image, LABELS, "dark")
