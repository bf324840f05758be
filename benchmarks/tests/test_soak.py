"""Two clients at once get their own images, and a server that draws other ones is found out."""

from pathlib import Path

import numpy as np
import pytest

import soak
from conftest import tiny_denoiser
from lab_ddpm.data.iclevr import OBJECTS
from lab_ddpm.data.images import write_png
from lab_ddpm.diffusion.pipeline import LabelConditionalPipeline
from lab_ddpm.playground.backend import Settings

pytest.importorskip("gradio")


def test_every_client_gets_its_own_images(tmp_path: Path) -> None:
    LabelConditionalPipeline(tiny_denoiser(labels=OBJECTS), "ddim").save_pretrained(tmp_path)
    outcome = soak.soak(tmp_path, requests=10, clients=2, seed=0)
    assert outcome.counts == {"right": 8, "broken off": 2}
    assert len(outcome.memory) == 10
    assert outcome.lines()[0].startswith("10 requests in ")


def test_other_images_and_other_numbers_of_them_are_wrong(tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (2, 4, 4, 3), dtype=np.uint8)
    kind = soak._Kind(("red cube",), Settings(2), images)
    gallery = []
    for index, image in enumerate(images):
        write_png(tmp_path / f"{index}.png", image)
        gallery.append({"image": {"path": str(tmp_path / f"{index}.png")}})
    assert kind.is_in(gallery)
    assert not kind.is_in(gallery[::-1])
    assert not kind.is_in(gallery[:1])
