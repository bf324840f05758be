"""What the playground draws is what the pipeline draws, and what it says about it is what the classifier says."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from threading import Thread, current_thread

import numpy as np
import pytest
from diffusers import EulerDiscreteScheduler

from conftest import save_tiny_pipeline
from lab_ddpm.data.iclevr import OBJECTS
from lab_ddpm.diffusion.reverse_process import image_seeds
from lab_ddpm.evaluation.classifiers import build_classifier, predict, save_classifier
from lab_ddpm.evaluation.object_scores import top_k_hits
from lab_ddpm.generation.checkpoint import load_pipeline
from lab_ddpm.generation.placing import Place, sample_placed
from lab_ddpm.generation.sampler import Sampler, open_sampler
from lab_ddpm.playground.studio import Drawing, Settings, Studio
from lab_ddpm.tools.errors import UserError

LABELS = ("a", "b", "c")
SETTINGS = Settings(number=3, scheduler="ddim", steps=4, guidance_scale=2.0, seed=5)


@pytest.fixture
def studio(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Studio:
    monkeypatch.chdir(tmp_path)
    save_classifier(build_classifier("referee", len(LABELS)), "referee", "evaluator", LABELS, name="abc")
    return Studio(save_tiny_pipeline("best", 3, LABELS))


def test_every_step_is_shown_and_the_end_is_that_of_the_command(studio: Studio) -> None:
    *on_the_way, last = studio.draw(("a", "c"), [], SETTINGS)
    assert len(on_the_way) == SETTINGS.steps
    assert not any(drawing.captions for drawing in on_the_way)
    sampler = open_sampler(Path("best"), "ddim", 4, 2.0)
    expected = sampler.sample([("a", "c")] * 3, image_seeds(5, 3)).images
    np.testing.assert_array_equal(last.images, expected)


def test_one_thread_draws_all(studio: Studio, monkeypatch: pytest.MonkeyPatch) -> None:
    threads: list[Thread] = []
    monkeypatch.setattr(studio, "captions", lambda *_: threads.append(current_thread()))
    for _ in range(3):
        list(studio.draw(("a",), [], SETTINGS))
    assert threads == [threads[0]] * 3
    assert threads[0] is not current_thread()


def test_the_captions_are_those_of_the_classifier(studio: Studio) -> None:
    *_, last = studio.draw(("a", "c"), [], SETTINGS)
    assert studio.classifier is not None
    outputs = predict(studio.classifier, last.images)
    found = top_k_hits(outputs, np.tile([1, 0, 1], (3, 1)))
    for caption, row in zip(last.captions, found, strict=True):
        assert f"{'✓' if row[0] else '✗'} a" in caption
        assert f"{'✓' if row[2] else '✗'} c" in caption
        assert ("(sees b)" in caption) == (not row.all() or not (row[0] and row[2]))
    assert studio.captions(last.images[:0], ()) == []


def test_the_lines_of_python_make_the_same_images(studio: Studio) -> None:
    for condition in (("a", "c"), ()):
        *_, last = studio.draw(condition, [], SETTINGS)
        names: dict = {}
        exec(studio.code(condition, [], SETTINGS), names)
        for drawn, image in zip(names["images"], last.images, strict=True):
            np.testing.assert_array_equal(np.asarray(drawn), image)


def test_a_damaged_classifier_is_named_and_one_of_other_labels_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    save_classifier(build_classifier("referee", 2), "referee", "evaluator", ("x", "y"), name="other")
    Path("evaluator/damaged.safetensors").write_bytes(b"?")
    assert Studio(save_tiny_pipeline("best", 3, LABELS)).classifier is None
    said = capsys.readouterr().out
    assert "damaged.safetensors" in said
    assert "other" not in said


def test_who_goes_away_stops_the_sampling(studio: Studio, monkeypatch: pytest.MonkeyPatch) -> None:
    timesteps: list[int] = []
    predict = studio.denoiser.predict
    monkeypatch.setattr(studio.denoiser, "predict", lambda *inputs: timesteps.append(1) or predict(*inputs))
    drawing: Iterator[Drawing] = studio.draw(("a",), [], Settings(1, "ddpm", 1000, 1.0, 0))
    next(drawing)
    drawing.close()  # type: ignore[attr-defined]
    list(studio.draw(("a",), [], SETTINGS))  # which begins when the other one has ended
    assert SETTINGS.steps < len(timesteps) < 100


def test_a_walk_has_both_ends(studio: Studio) -> None:
    walk = studio.walk(["a", "b, c"], 5, SETTINGS)
    assert walk.shape == (5, 32, 32, 3)
    sampler = Sampler(studio.pipeline, SETTINGS.scheduler, SETTINGS.steps, SETTINGS.guidance_scale)
    for image, condition in ((walk[0], ("a",)), (walk[-1], ("b", "c"))):
        expected = sampler.sample([condition], image_seeds(SETTINGS.seed, 1)).images[0]
        assert np.abs(image.astype(int) - expected).max() <= 1


@pytest.mark.parametrize(
    ("condition", "settings", "message"),
    [
        (("d",), SETTINGS, "must be one of"),
        (("a",), Settings(0), "`number` must be at least 1"),
        (("a",), Settings(steps=0), "steps"),
        (("a",), Settings(seed=-1), "`seed` must be at least 0"),
        (("a",), Settings(guidance_scale=-1.0), "guidance_scale"),
        (("a",), Settings(scheduler="magic"), "scheduler"),
    ],
)
def test_what_cannot_be_drawn_is_said(studio: Studio, condition: tuple, settings: Settings, message: str) -> None:
    with pytest.raises(UserError, match=message):
        next(studio.draw(condition, [], settings))


def test_places_need_a_model_with_a_layout(studio: Studio) -> None:
    with pytest.raises(UserError, match="layout"):
        next(studio.draw(("a",), [Place("a", 3, 3)], SETTINGS))


def test_placed_objects_and_their_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from conftest import tiny_denoiser
    from lab_ddpm.diffusion.pipeline import LabelConditionalPipeline

    monkeypatch.chdir(tmp_path)
    denoiser = tiny_denoiser(labels=OBJECTS, layout_scale=2.0, prediction_type="sample")
    LabelConditionalPipeline(denoiser, "ddim").save_pretrained("best")
    studio, places = Studio(Path("best")), [Place("red cube", 4, 5.5)]
    *_, last = studio.draw(("red cube",), places, SETTINGS)
    sampler = open_sampler(Path("best"), "ddim", 4, 2.0)
    expected = sample_placed(sampler, [places] * 3, image_seeds(5, 3)).images
    np.testing.assert_array_equal(last.images, expected)
    names: dict = {}
    exec(studio.code(("red cube",), places, SETTINGS), names)
    np.testing.assert_array_equal(names["images"], expected)


def test_a_sampler_without_a_name_draws_as_the_pipeline_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    pipeline = load_pipeline(save_tiny_pipeline("best", 3, ("rose",)))
    pipeline.scheduler = EulerDiscreteScheduler(use_karras_sigmas=True)
    pipeline.save_pretrained("karras")
    studio = Studio(Path("karras"))
    assert studio.scheduler == "EulerDiscreteScheduler"
    settings = Settings(2, studio.scheduler, 3, 1.0, seed=1)
    *_, drawn = studio.draw(("rose",), [], settings)
    expected = open_sampler(Path("karras"), steps=3, guidance_scale=1.0).sample([("rose",)] * 2, image_seeds(1, 2))
    np.testing.assert_array_equal(drawn.images, expected.images)
    assert "scheduler" not in studio.code(("rose",), [], settings)

    pytest.importorskip("gradio")  # which leaves an event loop behind: in a process of its own
    page = """
import gradio
from pathlib import Path
from lab_ddpm.playground.page import build
from lab_ddpm.playground.studio import Studio

boxes = [box for box in build(Studio(Path("karras"))).blocks.values() if isinstance(box, gradio.Dropdown)]
(sampler,) = (box for box in boxes if box.label == "Sampler")
assert sampler.value == sampler.preprocess(sampler.value) == "EulerDiscreteScheduler"
"""
    subprocess.run([sys.executable, "-c", page], check=True)
