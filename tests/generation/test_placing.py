"""Objects stand where they were asked for, and what is not a place is named."""

import pytest
import torch

from conftest import tiny_denoiser
from lab_ddpm.diffusion.layout import read_layout
from lab_ddpm.diffusion.pipeline import LabelConditionalPipeline
from lab_ddpm.generation.placing import Place, known_places, layout_of_places, parse_place, sample_placed
from lab_ddpm.generation.sampler import Sampler
from lab_ddpm.tools.errors import UserError
from painting_oracle import PaintingOracle


def test_objects_are_sampled_where_they_were_asked_for() -> None:
    sampler = Sampler(LabelConditionalPipeline(PaintingOracle(), "ddim"), "ddim", 10)
    places = [[Place("dark", 10, 10), Place("bright", 26, 18)], [Place("bright", 6, 26)]]
    samples = sample_placed(sampler, places, [0, 1])
    assert samples.masks is not None
    for image, masks, of_image in zip(samples.images, samples.masks, places, strict=True):
        assert set(masks.ravel().tolist()) - {0} == {("dark", "bright").index(place.label) + 1 for place in of_image}
        for place in of_image:
            value = 25 if place.label == "dark" else 230  # of 255: -0.8 and 0.8
            assert image[int(place.y), int(place.x)].tolist() == [value] * 3
    assert (samples.images[0, :, -4:] == 128).all()


def test_discs_may_take_an_outline_once_it_is_decided_where_they_stand() -> None:
    denoiser = PaintingOracle()
    known = known_places(denoiser, [[Place("dark", 10, 10)]])
    image, layout = denoiser.space.parts(known.until)
    put = denoiser.space.masks(known.values)[0, 0] > 0
    assert (image == 1000).all()
    assert (layout[0, :, put] == 500).all()
    assert (layout[0] == 500).sum() > (layout[0, :, put] == 500).sum()
    assert (layout[0, :, :, 6:] == 0).all()
    zeros = torch.zeros_like(known.values)
    assert (denoiser.space.masks(known.put_into(zeros, 500))[0, 0] > 0).equal(put)
    assert not (denoiser.space.masks(known.put_into(zeros, 499)) > 0).any()


def test_a_disc_lies_around_its_middle_and_the_nearer_of_two_counts() -> None:
    denoiser = PaintingOracle()  # images of 32 x 32 in patches of 4 x 4
    layout = layout_of_places(denoiser, [Place("dark", 10, 16), Place("bright", 14, 16)])
    masks = read_layout(layout, 2)[0, 0]
    assert set(torch.nonzero(masks == 1)[:, 1].tolist()) == {2}
    assert set(torch.nonzero(masks == 2)[:, 1].tolist()) == {3}
    assert layout[0, -1].flip(0).equal(layout[0, -1])  # both lie in the middle of the height
    touched = torch.nonzero(layout[0, -1] > -1)
    assert touched[:, 0].unique().tolist() == [3, 4]
    assert touched[:, 1].unique().tolist() == [1, 2, 3, 4]


@pytest.mark.parametrize("size", [16, 32, 64])
def test_a_disc_is_seen_in_the_map_wherever_it_is_put(size: int) -> None:
    settings: dict = {"labels": ("dark", "bright"), "layout_scale": 2.0, "prediction_type": "sample", "patch_size": 4}
    denoiser = tiny_denoiser(sample_size=size, **settings)
    for x in torch.linspace(0, size - 1, 9).tolist():
        for y in torch.linspace(0, size - 1, 9).tolist():
            assert layout_of_places(denoiser, [Place("bright", x, y)])[:, -1].max() > 0


@pytest.mark.parametrize(("text", "place"), [("red cube@20,30", (20, 30)), (" red cube @ 1.5 , 0", (1.5, 0))])
def test_a_place_is_read(text: str, place: tuple[float, float]) -> None:
    assert parse_place(text) == Place("red cube", *place)


@pytest.mark.parametrize("text", ["red cube", "red cube@20", "red cube@-1,3", "@1,2", "red cube@x,y"])
def test_what_is_no_place_is_named(text: str) -> None:
    with pytest.raises(UserError, match="a place must be written as LABEL@X,Y"):
        parse_place(text)


@pytest.mark.parametrize(
    ("places", "message"),
    [
        ([Place("drak", 1, 1)], "did you mean 'dark'"),
        ([Place("dark", 1, 1), Place("dark", 9, 9)], "must not name an object twice"),
        ([Place("dark", 9, 9), Place("bright", 9, 9)], "must be further apart: nothing would be left of the 'bright'"),
        ([Place("dark", 32, 1)], "a place must be within 32 x 32 pixels, got 32,1"),
    ],
)
def test_wrong_places_are_named(places: list[Place], message: str) -> None:
    with pytest.raises(UserError, match=message):
        known_places(PaintingOracle(), [places])


def test_a_model_without_a_layout_says_so() -> None:
    with pytest.raises(UserError, match="only a model with a layout puts objects in places"):
        known_places(tiny_denoiser(labels=("dark", "bright")), [[Place("dark", 1, 1)]])
