"""The playground generates what the pipeline generates, and its captions are what the classifier says."""

from pathlib import Path
from threading import Thread, current_thread
from typing import Any

import numpy as np
import pytest
from diffusers import EulerDiscreteScheduler

from conftest import save_random_classifiers, save_tiny_pipeline
from lab_ddpm.data.conditions import encode
from lab_ddpm.data.iclevr import OBJECTS
from lab_ddpm.data.images import resize_images
from lab_ddpm.diffusion.sampling import image_seeds
from lab_ddpm.evaluation.classifiers import IMAGE_SIZE, predict
from lab_ddpm.evaluation.scores import top_k_hits
from lab_ddpm.generation.checkpoint import load_pipeline, open_pipeline
from lab_ddpm.generation.generate import generate
from lab_ddpm.generation.placing import Place, generate_placed
from lab_ddpm.playground.backend import Backend, Settings
from lab_ddpm.tools.errors import UserError

LABELS = ("a", "b", "c")
SETTINGS = Settings(number=3, scheduler="ddim", steps=4, guidance_scale=2.0, seed=5)


@pytest.fixture
def backend(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Backend:
    monkeypatch.chdir(tmp_path)
    return Backend(save_tiny_pipeline("best", 3, LABELS))


def images_of(code: str) -> Any:
    names: dict[str, Any] = {}
    exec(code, names)
    return np.stack([np.asarray(image) for image in names["images"]])


def test_every_step_is_shown_and_the_end_is_that_of_the_pipeline(backend: Backend) -> None:
    *steps, last = backend.draw(("a", "c"), [], SETTINGS)
    assert len(steps) == SETTINGS.steps
    assert not any(state.captions for state in steps)
    expected = generate(open_pipeline("best", "ddim", 4, 2.0), [("a", "c")] * 3, image_seeds(5, 3)).images
    np.testing.assert_array_equal(last.images, expected)


@pytest.mark.parametrize("condition", [("a", "c"), ()])
def test_the_lines_of_python_make_the_same_images(backend: Backend, condition: tuple[str, ...]) -> None:
    settings = Settings(2, "euler", 3, 2.0, seed=1)
    *_, last = backend.draw(condition, [], settings)
    np.testing.assert_array_equal(images_of(backend.code(condition, [], settings)), last.images)


def test_placed_objects_and_their_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    save_tiny_pipeline("best", 3, LABELS, layout_scale=2.0, prediction_type="sample")
    backend, places = Backend(Path("best")), [Place("a", 4, 5.5)]
    *_, last = backend.draw(("a",), places, SETTINGS)
    expected = generate_placed(open_pipeline("best", "ddim", 4, 2.0), [places] * 3, image_seeds(5, 3)).images
    np.testing.assert_array_equal(last.images, expected)
    np.testing.assert_array_equal(images_of(backend.code(("a",), places, SETTINGS)), expected)


def test_the_captions_are_those_of_the_classifier(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    save_random_classifiers(names=("referee",))
    backend, condition = Backend(save_tiny_pipeline("best", 3, OBJECTS)), ("red cube", "cyan sphere")
    *_, last = backend.draw(condition, [], SETTINGS)
    assert backend.classifier is not None
    outputs = predict(backend.classifier, resize_images(last.images, IMAGE_SIZE))
    for caption, found in zip(
        last.captions, top_k_hits(outputs, encode([condition] * 3, OBJECTS).numpy()), strict=True
    ):
        for label in condition:
            assert f"{'✓' if found[OBJECTS.index(label)] else '✗'} {label}" in caption
        assert ("(sees " in caption) == (found.sum() < 2)


def test_closing_stops_the_sampling_in_the_one_thread(backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[Thread] = []
    forward = backend.pipeline.denoiser.forward
    monkeypatch.setattr(
        backend.pipeline.denoiser, "forward", lambda *inputs: calls.append(current_thread()) or forward(*inputs)
    )
    drawing: Any = backend.draw(("a",), [], Settings(1, "ddpm", 1000, 1.0))
    next(drawing)
    drawing.close()
    list(backend.draw(("a",), [], SETTINGS))  # starts when the other one has stopped
    assert 4 < len(calls) < 100
    assert len({*calls}) == 1
    assert calls[0] is not current_thread()


@pytest.mark.parametrize(
    ("condition", "places", "settings"),
    [
        (("d",), [], SETTINGS),
        (("a",), [Place("a", 3, 3)], SETTINGS),  # without a layout
        (("a",), [], Settings(0)),
        (("a",), [], Settings(seed=-1)),
        (("a",), [], Settings(guidance_scale=-1.0)),
        (("a",), [], Settings(scheduler="magic")),
    ],
)
def test_what_cannot_be_generated_is_refused(
    backend: Backend, condition: tuple[str, ...], places: list[Place], settings: Settings
) -> None:
    with pytest.raises(UserError):
        next(backend.draw(condition, places, settings))


def test_a_scheduler_without_a_name_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    pipeline = load_pipeline(save_tiny_pipeline("best", 3, ("rose",)))
    pipeline.with_sampling(EulerDiscreteScheduler(use_karras_sigmas=True)).save_pretrained("karras")
    backend = Backend(Path("karras"))
    assert backend.scheduler == "EulerDiscreteScheduler"
    settings = Settings(2, backend.scheduler, 3, 1.0, seed=1)
    *_, last = backend.draw(("rose",), [], settings)
    expected = generate(open_pipeline("karras", None, 3, 1.0), [("rose",)] * 2, image_seeds(1, 2)).images
    np.testing.assert_array_equal(last.images, expected)
    np.testing.assert_array_equal(images_of(backend.code(("rose",), [], settings)), expected)
