"""Objects stand where they were asked for."""

import pytest
import torch

from conftest import tiny_denoiser
from lab_ddpm.diffusion.pipeline import LabelConditionalPipeline
from lab_ddpm.generation.placing import Place, generate_placed, known_places, layout_of_places, parse_place
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


def test_a_disc_is_free_below_half_of_the_timesteps() -> None:
    denoiser = PaintingOracle()
    known = known_places(denoiser, [[Place("dark", 10, 10)]])
    image, layout = denoiser.space.parts(known.until)
    put = denoiser.space.masks(known.values)[0, 0] > 0
    assert (image == 1000).all()
    assert (layout[0, :, put] == 500).all()
    assert (layout[0] == 500).sum() > (layout[0, :, put] == 500).sum()  # a patch around it
    assert (layout[0, :, :, 6:] == 0).all()
    zeros = torch.zeros_like(known.values)
    assert (denoiser.space.masks(known.put_into(zeros, 500))[0, 0] > 0).equal(put)
    assert not (denoiser.space.masks(known.put_into(zeros, 499)) > 0).any()


def test_a_disc_is_seen_wherever_it_is_put() -> None:
    denoiser = tiny_denoiser(labels=LABELS, layout_scale=2.0, prediction_type="sample", patch_size=4)
    for x in torch.linspace(0, 15, 9).tolist():
        for y in torch.linspace(0, 15, 9).tolist():
            assert layout_of_places(denoiser, [Place("bright", x, y)])[:, -1].max() > 0


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
        known_places(PaintingOracle(), [places])


def test_a_model_without_a_layout_is_refused() -> None:
    with pytest.raises(UserError):
        known_places(tiny_denoiser(labels=LABELS), [[Place("dark", 1, 1)]])
