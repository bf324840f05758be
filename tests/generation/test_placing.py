"""Objects stand where they were asked for."""

import numpy as np
import pytest
import torch

from conftest import tiny_denoiser
from lab_ddpm.diffusion.pipeline import LabelConditionalPipeline
from lab_ddpm.diffusion.place_map import place_map_when_sampling
from lab_ddpm.generation.generate import generate
from lab_ddpm.generation.placing import Place, draw_places, generate_placed, parse_place, to_places
from lab_ddpm.tools.errors import UserError
from painting_oracle import LABELS, PaintingOracle


def test_objects_stand_where_they_were_asked_for() -> None:
    places = [[Place("dark", 10, 10), Place("bright", 26, 18)], [Place("bright", 6, 26)]]
    generated = generate_placed(LabelConditionalPipeline(PaintingOracle(), "ddim", 10), places, [0, 1])
    assert generated.masks is not None
    for image, masks, of_image in zip(generated.images, generated.masks, places, strict=True):
        assert set(masks.ravel().tolist()) - {0} == {LABELS.index(place.label) + 1 for place in of_image}
        for place in of_image:
            value = 25 if place.label == "dark" else 230
            assert image[int(place.y), int(place.x)].tolist() == [value] * 3
    assert (generated.images[0, :, -4:] == 128).all()


def test_a_disc_is_seen_wherever_it_is_put() -> None:
    denoiser = tiny_denoiser(labels=LABELS, layout_scale=2.0, prediction_type="sample", patch_size=4)
    axis = torch.linspace(0, 15, 9).tolist()
    places = to_places(denoiser, [[Place("bright", x, y)] for x in axis for y in axis])
    place_map = place_map_when_sampling(denoiser, torch.ones(81, 2), range(81), places, is_started=False)
    assert place_map is not None
    assert (place_map[:, denoiser.space.layout_channels - 1].amax(dim=(1, 2)) > 0).all()


def test_the_places_that_a_model_decides_draw_what_it_draws() -> None:
    pipeline = LabelConditionalPipeline(PaintingOracle(), "ddim", 4)
    conditions = [LABELS, ("bright",)]
    places = draw_places(pipeline.denoiser, conditions, [0, 1])
    assert [{place.label for place in of_image} for of_image in places] == [set(LABELS), {"bright"}]
    np.testing.assert_array_equal(
        generate_placed(pipeline, places, [0, 1]).images, generate(pipeline, conditions, [0, 1]).images
    )


def test_only_a_model_with_a_layout_has_places() -> None:
    with pytest.raises(UserError):
        draw_places(tiny_denoiser(labels=LABELS), [LABELS], [0])


def test_a_place_is_read() -> None:
    assert parse_place(" red cube @ 1.5 , 0") == Place("red cube", 1.5, 0)
    for text in ("red cube", "red cube@20", "red cube@-1,3", "@1,2"):
        with pytest.raises(UserError):
            parse_place(text)


@pytest.mark.parametrize(
    "places",
    [[Place("drak", 1, 1)], [Place("dark", 9, 9), Place("bright", 9, 9)], [Place("dark", 32, 1)]],
    ids=["unknown", "covered", "outside"],
)
def test_wrong_places_are_refused(places: list[Place]) -> None:
    with pytest.raises(UserError):
        to_places(PaintingOracle(), [places])
