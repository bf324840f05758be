"""The page about a tiny run, read with the HTML parser of the standard library."""

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

from conftest import tiny_denoiser
from lab_ddpm.data.conditions import encode
from lab_ddpm.data.iclevr import OBJECTS
from lab_ddpm.data.images import to_uint8, write_png
from lab_ddpm.diffusion.sampling import FINISHED
from lab_ddpm.drawing.figures import DenoisingRecorder
from lab_ddpm.evaluation.scores import summarize
from lab_ddpm.report.page import write_page
from lab_ddpm.report.results import compare_results, read_result
from lab_ddpm.tools.errors import DataError
from lab_ddpm.tools.files import write_json
from lab_ddpm.training.config_parser import parse_config
from lab_ddpm.training.metrics_log import append_record

CONDITIONS = [("red cube",), ("gray cube", "cyan sphere"), ("blue cube", "brown sphere", "yellow cylinder")]
VOID = {"meta", "img", "br"}


def scores(share: float) -> dict[str, Any]:
    labels = encode(CONDITIONS * 4, OBJECTS)
    hits = (np.random.default_rng(0).random((4, *labels.shape)) < share) & (labels.numpy() > 0)
    return dict(summarize(hits, labels, OBJECTS))


def metrics(share: float) -> dict[str, Any]:
    by_classifier = {"resnet18": scores(share), "referee": scores(share)}
    splits = {"test": by_classifier, "new_test": by_classifier}
    classifiers = {name: {"file": f"{name}.safetensors", "sha256": f"{name}'s hash"} for name in by_classifier}
    sampling = {"scheduler": "ddim", "steps": 15, "guidance_scale": 2.0, "seeds": [0, 1]}
    right = {"right": {"mean": share, "ci95": [share, share]}, "too_many": {"mean": 0.0, "ci95": [0.0, 0.0]}}
    used = {"lists": dict.fromkeys(splits, "hash"), "classifiers": classifiers}
    return {**sampling, **used, "splits": splits, "counted": dict.fromkeys(splits, right)}


def make_training(folder: Path, seconds: float, *arguments: str) -> None:
    folder.mkdir(parents=True)
    config = parse_config(["--name", "tiny", "--batch_size", "16", *arguments])
    (folder / "config.yaml").write_text(yaml.safe_dump(config.as_dict()))
    place = {"step": 200, "epoch": 2.0, "seconds": seconds}
    append_record(folder / "metrics.jsonl", {**place, "loss": 1.0, "learning_rate": 1e-3})
    append_record(folder / "metrics.jsonl", {**place, "validation": scores(0.5)})


def make_run(root: Path) -> Path:
    """`root/runs/tiny` with all that commands write, and `root/pretrained` with better scores."""
    run = root / "runs" / "tiny"
    make_training(run, 300)
    make_training(root / "pretrained", 7200)
    (run / "best").mkdir()
    images = torch.rand(3, 3, 16, 16) * 2 - 1
    write_png(run / "samples" / "step_0000200.png", to_uint8(images)[0])
    out, recorder = run / "generated" / "test", DenoisingRecorder(tiny_denoiser())
    for timestep in (999, 300, FINISHED):
        recorder(timestep, images)
    recorder.write(out, CONDITIONS)
    for index, image in enumerate(to_uint8(images)):
        write_png(out / f"{index:02d}.png", image)
    entries = [{"file": f"{index:02d}.png", "condition": list(names)} for index, names in enumerate(CONDITIONS)]
    write_json(out / "manifest.json", {"split": "test", "images": entries})
    write_json(run / "evaluation" / "metrics.json", metrics(0.2))
    write_json(root / "pretrained" / "metrics.json", metrics(0.95))
    return run


class Page(HTMLParser):
    """Elements and words of a page; fails on a tag that is closed in the wrong order or not at all."""

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


def page_of(run: Path, root: Path) -> Page:
    write_page(run, root / "report.html", root / "pretrained")
    return Page((root / "report.html").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Page]:
    root = tmp_path_factory.mktemp("whole")
    return root, page_of(make_run(root), root)


def test_everything_is_inside_and_nothing_runs(whole: tuple[Path, Page]) -> None:
    root, page = whole
    html = (root / "report.html").read_text(encoding="utf-8")
    assert not any(part in html for part in ("://", "url(", "<script", "<link"))
    generated, strips, animations, samples, charts = 3, 1, 1, 1, 4
    assert len(page.all("img")) == generated + strips + animations + samples + charts
    for image in page.all("img"):
        header, content = str(image["src"]).split(",", 1)
        with Image.open(io.BytesIO(base64.b64decode(content, validate=True))) as decoded:
            decoded.load()
            assert header == f"data:image/{str(decoded.format).lower()};base64"
            assert decoded.size == (int(str(image["width"])), int(str(image["height"])))


def test_the_page_is_sound_html(whole: tuple[Path, Page]) -> None:
    root, page = whole
    assert (root / "report.html").read_text(encoding="utf-8").lstrip().startswith("<!DOCTYPE html>")
    assert page.all("html")[0]["lang"] == "en"
    assert all(image["alt"] for image in page.all("img"))
    levels = [int(tag[1]) for tag, _ in page.elements if tag in ("h1", "h2", "h3")]
    assert (levels[0], levels.count(1)) == (1, 1)
    assert all(after <= before + 1 for before, after in pairwise(levels))
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert [section["aria-labelledby"] for section in page.all("section")] == ids == [*dict.fromkeys(ids)]


def test_scores_conditions_and_settings_are_shown(whole: tuple[Path, Page]) -> None:
    _, page = whole
    for share in (0.2, 0.95):
        assert f"{100 * scores(share)['micro']['mean']:.0f} %" in page.text
    exact = scores(0.2)["exact_match"]
    assert f"{exact['mean']:.2f} [{exact['ci95'][0]:.2f}, {exact['ci95'][1]:.2f}]" in page.text
    assert "0.20 [0.20, 0.20]" in page.text
    assert "5.0 minutes" in page.text
    assert "2.0 hours" in page.text
    assert "the shipped pipeline is better" in page.text
    assert all(", ".join(condition) in page.text for condition in CONDITIONS)
    assert "beta_schedule: squaredcos_cap_v2" in page.text
    assert not [paragraph for paragraph in page.all("p") if paragraph.get("class") == "missing"]


@pytest.mark.parametrize("key", ["lists", "classifiers"])
def test_scores_on_other_lists_or_by_another_classifier_are_not_compared(tmp_path: Path, key: str) -> None:
    own, other = metrics(0.2), metrics(0.95)
    other[key] |= {"test": "other"} if key == "lists" else {"referee": {"file": "x", "sha256": "other"}}
    results = []
    for number, content in enumerate((own, metrics(0.95), other)):
        write_json(tmp_path / f"{number}.json", content)
        results.append(read_result("", tmp_path, tmp_path / f"{number}.json"))
    assert "is better" in str(compare_results(*results[:2]))
    assert "cannot be compared" in str(compare_results(*results[::2]))


def test_missing_files_are_left_out_and_their_commands_named(tmp_path: Path) -> None:
    run = tmp_path / "empty"
    (run / "best").mkdir(parents=True)
    page = page_of(run, tmp_path)
    assert not page.all("img")
    for command in ("train --config", "generate --checkpoint", "evaluate --checkpoint"):
        assert f"lab-ddpm {command}" in page.text
    (run / "best").rename(run / "generated")  # nothing to sample from
    assert "lab-ddpm generate" not in page_of(run, tmp_path).text


def test_a_run_of_other_images_shows_its_distances_or_the_command(tmp_path: Path) -> None:
    run = tmp_path / "run"
    make_training(run, 300, "--data.dataset", "mnist", "--data.conditional", "false", "--epochs", "3")
    (run / "best").mkdir()
    text = page_of(run, tmp_path).text
    assert f"lab-ddpm evaluate --against mnist --root data/iclevr --checkpoint {run}/best --out {run}/distances" in text
    assert "generated/unconditional" in text
    assert "--split" not in text
    assert "2 of 3" in text
    found = {"scores": {"frechet": {"mean": 0.1234, "ci95": None}}, "held_out": {"frechet": 0.01}, "num_held_out": 9}
    write_json(run / "distances" / "metrics.json", {**found, "seeds": [0], "num_images": 9, "features": "inception"})
    text = page_of(run, tmp_path).text
    assert "0.1234" in text
    assert "lab-ddpm evaluate" not in text


def test_the_command_for_data_of_the_hub_has_the_settings_of_the_run(tmp_path: Path) -> None:
    run = tmp_path / "run"
    make_training(run, 300, "--data.dataset", "hub", "--data.root", "me/pets", "--data.label_column", "a name")
    (run / "best").mkdir()
    command = "--against hub --root me/pets --held-out SPLIT --data.label_column 'a name' --checkpoint"
    assert command in page_of(run, tmp_path).text


def test_captions_are_escaped(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    shutil.rmtree(run / "evaluation")
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
        ("evaluation/metrics.json", '{"splits": {"test": {"referee": {}}}}'),
        ("metrics.jsonl", '{"epoch": 1}\n'),
        ("config.yaml", "{batch_size: four}"),
        ("generated/test/manifest.json", '{"images": 3}'),
        ("generated/test/01.png", "no image"),
    ],
)
def test_a_broken_file_is_named_and_no_page_is_written(tmp_path: Path, file: str, content: str) -> None:
    run = make_run(tmp_path)
    (run / file).write_text(content)
    with pytest.raises(DataError, match=Path(file).name):
        page_of(run, tmp_path)
    assert not (tmp_path / "report.html").exists()


def test_what_is_no_run_is_refused(tmp_path: Path) -> None:
    (tmp_path / "best").mkdir()
    (tmp_path / "best" / "model_index.json").touch()
    for name in ("best", "nothing"):
        with pytest.raises(DataError, match=name):
            page_of(tmp_path / name, tmp_path)
