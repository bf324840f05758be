"""The report page of a tiny run folder, read back with the standard library's HTML parser."""

from __future__ import annotations

import base64
import io
import json
import shutil
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from lab_ddpm.data.conditions import encode
from lab_ddpm.data.iclevr import OBJECTS
from lab_ddpm.data.images import to_uint8, write_png
from lab_ddpm.diffusion.reverse_process import FINISHED
from lab_ddpm.drawing.figures import DenoisingRecorder
from lab_ddpm.evaluation.object_scores import summarise
from lab_ddpm.report.page import write_report
from lab_ddpm.tools.errors import DataError
from lab_ddpm.tools.files import write_json
from lab_ddpm.tools.metrics_log import append_record
from lab_ddpm.training.config import TrainConfig

CONDITIONS = [("red cube",), ("gray cube", "cyan sphere"), ("blue cube", "brown sphere", "yellow cylinder")]
VOID = {"meta", "img", "br", "source"}
SECTIONS = ["worth", "images", "training", "settings"]


def scores(share: float) -> dict[str, Any]:
    labels = encode(CONDITIONS * 4, OBJECTS)
    hits = (np.random.default_rng(0).random((4, *labels.shape)) < share) & (labels.numpy() > 0)
    return dict(summarise(hits, labels, OBJECTS, resamples=50))


def metrics(share: float) -> dict[str, Any]:
    by_classifier = {"resnet18": scores(share), "referee": scores(share)}
    splits = {"test": by_classifier, "new_test": by_classifier}
    sampler = {"scheduler": "ddim", "steps": 15, "guidance_scale": 2.0, "guidance_stop": 0.6}
    by = {
        "lists": dict.fromkeys(splits, "a list's hash"),
        "classifiers": {name: {"file": f"{name}.safetensors", "sha256": f"{name}'s hash"} for name in by_classifier},
    }
    return {"checkpoint": "runs/tiny/best", "seeds": [0, 1], **sampler, **by, "splits": splits}


def make_training(folder: Path, seconds: float) -> None:
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(yaml.safe_dump(TrainConfig(name="tiny", batch_size=16).as_dict()))
    for step in range(10, 201, 10):
        place = {"step": step, "epoch": step / 100, "seconds": seconds * step / 200}
        append_record(folder / "metrics.jsonl", {**place, "loss": 1 / step, "learning_rate": 1e-3})
    append_record(folder / "metrics.jsonl", {**place, "validation": scores(0.5)})


def make_run(root: Path) -> Path:
    """What `make demo` leaves, small: `root/runs/tiny`, and `root/pretrained` with better scores."""
    run = root / "runs" / "tiny"
    make_training(run, seconds=300)
    (run / "best").mkdir()
    make_training(root / "pretrained", seconds=7200)
    images = torch.rand(3, 3, 16, 16) * 2 - 1
    write_png(run / "samples" / "step_0000200.png", to_uint8(images)[0])
    for split in ("test", "new_test"):
        out = run / "generated" / split
        recorder = DenoisingRecorder()
        for timestep in (999, 300, FINISHED):
            recorder(timestep, images)
        for index, image in enumerate(to_uint8(images)):
            write_png(out / f"{index:02d}.png", image)
        recorder.write(out, CONDITIONS)
        entries = [
            {"file": f"{index:02d}.png", "condition": list(condition), "seed": index, "scheduler": "ddim"}
            | {"steps": 15, "guidance_scale": 2.0, "guidance_stop": 0.6, "checkpoint": "runs/tiny/best"}
            for index, condition in enumerate(CONDITIONS)
        ]
        write_json(out / "manifest.json", {"split": split, "images": entries})
    write_json(run / "evaluation" / "metrics.json", metrics(0.2))
    write_json(root / "pretrained" / "metrics.json", metrics(0.95))
    return run


class Page(HTMLParser):
    """Elements of a page; fails on a tag that is closed in the wrong order or not at all."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self._open: list[str] = []
        self.feed(html)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self._open:
            self.words += data.split()

    @property
    def text(self) -> str:
        return " ".join(self.words)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]

    def uris(self) -> list[str]:
        return [str(image["src"]) for image in self.all("img")] + [str(s["srcset"]) for s in self.all("source")]


def page_of(run: Path, root: Path) -> Page:
    write_report(run, root / "report.html", root / "pretrained")
    return Page((root / "report.html").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Page]:
    root = tmp_path_factory.mktemp("whole")
    return root, page_of(make_run(root), root)


def test_every_image_is_inside_and_decodes(whole: tuple[Path, Page]) -> None:
    _, page = whole
    sizes = {}
    for uri in page.uris():
        header, content = uri.split(",", 1)
        with Image.open(io.BytesIO(base64.b64decode(content, validate=True))) as decoded:
            decoded.load()
            assert header == f"data:image/{str(decoded.format).lower()};base64"
            sizes[uri] = decoded.size
    for image in page.all("img"):
        assert sizes[str(image["src"])] == (int(str(image["width"])), int(str(image["height"])))
    generated, strips, animations, samples, charts = 2 * 3, 2, 2, 1, 6
    assert len(page.all("img")) == generated + strips + animations + samples + charts
    assert len(page.all("source")) == charts


def test_nothing_is_fetched_and_nothing_runs(whole: tuple[Path, Page]) -> None:
    root, page = whole
    html = (root / "report.html").read_text(encoding="utf-8")
    assert "://" not in html
    assert "url(" not in html
    assert not page.all("script")
    assert not page.all("link")
    assert all(uri.startswith("data:image/") for uri in page.uris())
    assert str(root) not in page.text.replace(str(root / "runs"), "").replace(str(root / "pretrained"), "")


def test_page_is_sound_html_for_everyone(whole: tuple[Path, Page]) -> None:
    root, page = whole
    assert (root / "report.html").read_text(encoding="utf-8").lstrip().startswith("<!DOCTYPE html>")
    assert page.all("html")[0]["lang"] == "en"
    assert all(image["alt"] for image in page.all("img"))
    levels = [int(tag[1]) for tag, _ in page.elements if tag in ("h1", "h2", "h3")]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert [section["aria-labelledby"] for section in page.all("section")] == ids
    assert set(SECTIONS) < set(ids)


def test_page_says_what_the_run_is_worth(whole: tuple[Path, Page]) -> None:
    _, page = whole
    own, shipped = scores(0.2)["micro"]["mean"], scores(0.95)["micro"]["mean"]
    assert "After 5.0 minutes and 3,200 images this run draws" in page.text
    assert f"{100 * own:.0f} % of the objects asked for by the list test" in page.text
    assert f"after 2.0 hours and 3,200 images, draws {100 * shipped:.0f} % on test" in page.text
    assert "the shipped pipeline is the better one" in page.text
    assert "A few minutes of training" in page.text
    assert "An object that is drawn twice counts as found" in page.text
    assert "guidance 2.0 at the noisier 0.6 of the levels" in page.text
    assert "python scripts/" not in page.text  # nothing is missing


def test_a_shipped_pipeline_of_several_runs_is_not_said_to_have_taken_the_last_one(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    config = TrainConfig(name="tiny", batch_size=16, init_from="runs/first/last").as_dict()
    (tmp_path / "pretrained" / "config.yaml").write_text(yaml.safe_dump(config))
    page = page_of(run, tmp_path)
    assert "The shipped pipeline, which took several runs (its card adds them up), draws" in page.text
    assert "2.0 hours" not in page.text


@pytest.mark.parametrize("key", ["lists", "classifiers"])
def test_scores_on_other_lists_or_by_another_classifier_are_not_compared(tmp_path: Path, key: str) -> None:
    run = make_run(tmp_path)
    content = json.loads((run / "evaluation" / "metrics.json").read_text())
    content |= {"lists": dict.fromkeys(content["splits"], "other")} if key == "lists" else {}
    if key == "classifiers":
        content["classifiers"]["referee"]["sha256"] = "other"
    write_json(run / "evaluation" / "metrics.json", content)
    page = page_of(run, tmp_path)
    assert "not to be compared" in page.text
    assert "better one" not in page.text


def test_conditions_are_captions_and_settings_are_shown(whole: tuple[Path, Page]) -> None:
    _, page = whole
    for condition in CONDITIONS:
        assert page.text.count(", ".join(condition)) == 2
    assert "beta_schedule: squaredcos_cap_v2" in page.text
    low, high = scores(0.2)["exact_match"]["ci95"]
    assert f"{scores(0.2)['exact_match']['mean']:.2f} [{low:.2f}, {high:.2f}]" in page.text


def test_what_a_run_without_a_checkpoint_lacks_comes_with_no_command_that_needs_one(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    for lost in (run / "best", run / "evaluation", run / "generated"):
        shutil.rmtree(lost)
    page = page_of(run, tmp_path)
    assert "python scripts/" not in page.text
    assert "There is no best/ here yet" in page.text


def test_each_missing_piece_is_left_out_with_its_command(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    expected: list[str] = []
    for lost, sentence in (
        ("runs/tiny/evaluation", "This run has not been scored. This scores it: python scripts/evaluate.py"),
        ("runs/tiny/metrics.jsonl", "There are no curves to show. This trains, and logs them: accelerate launch"),
        ("runs/tiny/generated/new_test/strip.png", ""),
        (
            "runs/tiny/generated/test/strip.png",
            "There is no denoising strip. This makes one: python scripts/generate.py",
        ),
        ("runs/tiny/generated", "No images have been generated. This makes some: python scripts/generate.py"),
        ("runs/tiny/config.yaml", "There is no config.yaml. Training writes it: accelerate launch"),
        ("pretrained/metrics.json", "The scores of a shipped pipeline are not there"),
    ):
        path = tmp_path / lost
        shutil.rmtree(path) if path.is_dir() else path.unlink()
        if lost == "runs/tiny/generated":
            expected = [earlier for earlier in expected if "strip" not in earlier]
        expected += [sentence] if sentence else []
        page = page_of(run, tmp_path)
        no_training = "There is no record of a training" in page.text  # said at the top, too
        assert len([p for p in page.all("p") if p.get("class") == "missing"]) == len(expected) + no_training
        assert all(entry in page.text for entry in expected)
        assert [section["aria-labelledby"] for section in page.all("section")] == SECTIONS


def test_the_page_of_a_run_that_is_not_finished_says_so(tmp_path: Path) -> None:
    for epochs, said in ((2, False), (3, True)):
        run = tmp_path / str(epochs)
        make_training(run, seconds=300)
        (run / "config.yaml").write_text(yaml.safe_dump(TrainConfig(epochs=epochs).as_dict()))
        assert ("Epochs 2 of 3" in page_of(run, tmp_path).text) == said


def test_a_run_with_nothing_but_its_checkpoint_gives_a_page_of_commands(tmp_path: Path) -> None:
    run = tmp_path / "empty"
    (run / "best").mkdir(parents=True)
    page = page_of(run, tmp_path)
    assert page.uris() == []
    for script in ("train.py", "generate.py", "evaluate.py"):
        assert f"scripts/{script}" in page.text


def test_a_run_without_labels_is_not_told_to_draw_a_list(tmp_path: Path) -> None:
    run = tmp_path / "runs" / "tiny"
    make_training(run, seconds=300)
    settings = TrainConfig(name="tiny", batch_size=16).as_dict()
    settings["model"]["conditional"] = False
    (run / "config.yaml").write_text(yaml.safe_dump(settings))
    (run / "best").mkdir()
    page = page_of(run, tmp_path)
    assert "--split" not in page.text
    assert "evaluate.py" not in page.text
    assert "generated/unconditional" in page.text


def test_captions_are_escaped(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    shutil.rmtree(run / "evaluation")
    (run / "metrics.jsonl").unlink()
    manifest = run / "generated" / "test" / "manifest.json"
    content = json.loads(manifest.read_text())
    content["images"][0]["condition"] = ["<script>alert(1)</script>"]
    write_json(manifest, content)
    page = page_of(run, tmp_path)
    assert not page.all("script")
    assert "<script>alert(1)</script>" in page.text


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("evaluation/metrics.json", "{}"),
        ("evaluation/metrics.json", "{"),
        ("evaluation/metrics.json", '{"splits": {"test": {"referee": {}}}}'),
        ("metrics.jsonl", '{"epoch": 1}\n'),
        ("config.yaml", "a: [\n"),
        ("config.yaml", "{batch_size: four}"),
        ("generated/test/manifest.json", '{"images": 3}'),
        ("generated/test/01.png", "no image"),
        ("generated/test/strip.png", ""),
    ],
)
def test_a_broken_file_is_named_and_no_page_is_written(tmp_path: Path, file: str, content: str) -> None:
    run = make_run(tmp_path)
    (run / file).write_text(content)
    with pytest.raises(DataError, match=Path(file).name):
        page_of(run, tmp_path)
    assert not (tmp_path / "report.html").exists()


def test_a_pipeline_is_refused_with_the_run_that_it_is_of(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    (run / "pipelines").mkdir()
    (run / "best").rename(run / "pipelines" / "step_1")
    (run / "best").symlink_to("pipelines/step_1")
    (run / "best" / "model_index.json").touch()
    alone = tmp_path / "alone"
    alone.mkdir()
    (alone / "model_index.json").touch()
    for folder, hint in (
        (run / "best", f"; did you mean {run}?"),
        (run / "pipelines" / "step_1", f"; did you mean {run}?"),
        (alone, ""),
    ):
        with pytest.raises(DataError) as caught:
            write_report(folder, tmp_path / "report.html")
        assert str(caught.value) == f"{folder}: a pipeline, and a report is about the folder of a run{hint}"
    assert not (tmp_path / "report.html").exists()


def test_a_run_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such run folder"):
        write_report(tmp_path / "nothing", tmp_path / "report.html")
