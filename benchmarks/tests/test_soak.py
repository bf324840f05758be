"""Two clients at once get their own images, and a server that draws other ones is found out."""

import base64
import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import soak
from conftest import save_tiny_pipeline
from lab_ddpm.data.iclevr import OBJECTS
from lab_ddpm.playground.backend import Settings

pytest.importorskip("gradio")


def test_every_client_gets_its_own_images(tmp_path: Path) -> None:
    save_tiny_pipeline(tmp_path, 3, OBJECTS, layout_scale=2.0, prediction_type="sample")
    outcome = soak.soak(tmp_path, requests=10, clients=2, seed=0)
    assert set(outcome.counts) == {"right", "broken off"}
    assert sum(outcome.counts.values()) == 10
    assert len(outcome.memory) == 10
    assert outcome.lines()[0].startswith("10 requests in ")


def test_another_image_is_wrong() -> None:
    images = np.random.default_rng(0).integers(0, 256, (2, 4, 4, 3), dtype=np.uint8)
    kinds, answers = [soak.Kind([], Settings(1), image) for image in images], []
    for image in images:
        file = io.BytesIO()
        Image.fromarray(image).save(file, format="PNG")
        answers.append(json.dumps({"image": "data:," + base64.b64encode(file.getvalue()).decode()}).encode())
    assert kinds[0].is_in(answers[0])
    assert not kinds[0].is_in(answers[1])
