"""An edit changes one object; everything away from it stays as it is, to the pixel."""

import numpy as np
import pytest
import torch

from lab_ddpm.data.images import Images, to_uint8
from lab_ddpm.diffusion.pipeline import LabelConditionalPipeline
from lab_ddpm.generation.editing import Edited, add_object, remove_object, replace_object
from lab_ddpm.generation.placing import Place
from lab_ddpm.generation.reading import read_images
from lab_ddpm.generation.sampler import Sampler
from lab_ddpm.tools.errors import UserError
from painting_oracle import LABELS, PaintingOracle, paint

DARK, BRIGHT, GROUND = 25, 230, 128


@pytest.fixture
def sampler() -> Sampler:
    return Sampler(LabelConditionalPipeline(PaintingOracle(), "ddim"), "ddim", 10)


@pytest.fixture
def image() -> Images:
    """A dark object on the left, a bright one on the right, and a ground that no model would paint."""
    masks = torch.zeros(1, 1, 8, 8, dtype=torch.long)
    masks[0, 0, 2:4, 1:3], masks[0, 0, 4:6, 5:7] = 1, 2
    painted = to_uint8(paint(masks))[0].copy()
    painted[painted == GROUND] = np.random.default_rng(0).integers(110, 146, (painted == GROUND).sum())
    return painted


def check_only_the_region_changed(edited: Edited, image: Images) -> None:
    region = edited.region.numpy()
    assert 0 < region.mean() < 0.5
    np.testing.assert_array_equal(edited.image[~region], image[~region])


def test_a_image_is_read(sampler: Sampler, image: Images) -> None:
    images = torch.from_numpy(image.copy()).movedim(-1, 0)[None] / 127.5 - 1
    sample = read_images(sampler.denoiser, images, torch.ones(1, 2))
    assert sampler.denoiser.space.decode(sample).equal(images)
    found = sampler.denoiser.space.masks(sample)[0, 0]
    assert (found[2:4, 1:3] == 1).all()
    assert (found[4:6, 5:7] == 2).all()
    assert (found > 0).sum() == 8


def test_a_removed_object_is_ground(sampler: Sampler, image: Images) -> None:
    edited = remove_object(sampler, image, LABELS, "dark")
    check_only_the_region_changed(edited, image)
    assert edited.condition == ("bright",)
    assert (edited.image[8:16, 4:12] == GROUND).all()


def test_what_else_stands_near_a_removed_object_stays_but_for_its_edge(sampler: Sampler) -> None:
    masks = torch.zeros(1, 1, 8, 8, dtype=torch.long)
    masks[0, 0, 2:4, 1:3], masks[0, 0, 2:4, 3:6] = 1, 2
    edited = remove_object(sampler, to_uint8(paint(masks))[0], LABELS, "dark")
    assert edited.region[8:16, 12:16].all()  # a patch of the neighbour
    assert not edited.region[8:16, 16:24].any()
    assert edited.region[16:20, 4:12].all()  # where the shadow may lie


def test_a_replaced_object_stands_where_the_old_one_did(sampler: Sampler, image: Images) -> None:
    alone = image.copy()
    alone[16:24, 20:28] = GROUND
    edited = replace_object(sampler, alone, ("dark",), "dark", "bright")
    check_only_the_region_changed(edited, alone)
    assert edited.condition == ("bright",)
    assert (edited.image[8:16, 4:12] == BRIGHT).all()


def test_an_added_object_stands_in_its_place(sampler: Sampler, image: Images) -> None:
    alone = image.copy()
    alone[16:24, 20:28] = GROUND
    edited = add_object(sampler, alone, ("dark",), Place("bright", 22, 26))
    check_only_the_region_changed(edited, alone)
    assert edited.condition == ("dark", "bright")
    assert edited.image[26, 22].tolist() == [BRIGHT] * 3
    assert (edited.image[8:16, 4:12] == DARK).all()


def test_what_cannot_be_edited_is_named(sampler: Sampler, image: Images) -> None:
    with pytest.raises(UserError, match=r"the object must be one of \['dark'\], got 'bright'"):
        remove_object(sampler, image, ("dark",), "bright")
    with pytest.raises(UserError, match="must not name an object twice"):
        replace_object(sampler, image, LABELS, "dark", "bright")
    with pytest.raises(UserError, match="the model does not see a 'dark' in the image"):
        remove_object(sampler, np.full_like(image, GROUND), LABELS, "dark")
    blind = Sampler(LabelConditionalPipeline(PaintingOracle(layout_dropout=0.0), "ddim"), "ddim", 2)
    with pytest.raises(UserError, match="only a model that was trained with `layout_scale` and `layout_dropout` reads"):
        remove_object(blind, image, LABELS, "dark")
