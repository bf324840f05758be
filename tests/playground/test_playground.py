"""The page of the playground in a browser, with the shipped pipeline, and its parts without one."""

import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from shutil import which
from typing import Any

import numpy as np
import pytest
from PIL import Image

from conftest import save_tiny_pipeline
from lab_ddpm.cli import main

pytestmark = pytest.mark.skipif(find_spec("gradio") is None, reason="needs gradio")
CHROMIUM = which("chromium")
PRETRAINED = Path(__file__).parents[2] / "pretrained" / "iclevr-cpu"
TIMEOUT = 300.0  # seconds for the server to start


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """Of a running playground."""
    if CHROMIUM is None:
        pytest.skip("needs chromium")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    proxy = {"http_proxy": "http://127.0.0.1:9", "ALL_PROXY": "socks5://127.0.0.1:9"}  # as in many labs
    command = [sys.executable, "-m", "lab_ddpm", "playground", "--checkpoint", str(PRETRAINED), "--port", str(port)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ | proxy) as server:
        try:
            end, url = time.monotonic() + TIMEOUT, f"http://127.0.0.1:{port}"
            assert server.stdout is not None
            while not server.stdout.readline().startswith(url):
                assert server.poll() is None
                assert time.monotonic() < end
            yield url
        finally:
            server.terminate()


@pytest.fixture
def page(address: str) -> Iterator[Any]:
    """The page in a browser."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page()
        page.set_default_timeout(120_000)
        page.goto(address)
        yield page
        browser.close()


@pytest.mark.slow
def test_ticked_objects_are_generated_and_captioned(page: Any) -> None:
    from lab_ddpm.playground.backend import Backend, Settings

    page.locator("#cube").get_by_label("red").check()
    page.locator("#sphere").get_by_label("cyan").check()
    page.get_by_role("button", name="Draw").click()
    page.wait_for_selector("#images .caption-label")
    captions = page.locator("#images .caption-label").all_inner_texts()
    *_, last = Backend(PRETRAINED).draw(("red cube", "cyan sphere"), [], Settings())
    assert [re.sub(r"\s+", " ", caption).strip() for caption in captions] == list(last.captions)
    assert '["red cube, cyan sphere"] * 4' in page.locator(".cm-content").inner_text()
    page.get_by_text("Gallery of this visit").click()
    page.wait_for_selector("#gallery .caption-label")
    assert page.locator("#gallery .caption-label").all_inner_texts() == captions


@pytest.mark.slow
def test_an_object_is_generated_where_its_disc_is_dragged_to(page: Any) -> None:
    from playwright.sync_api import expect

    page.get_by_label("Put the objects where the discs are").check()
    page.locator("#cube").get_by_label("red").check()
    page.locator('#places [data-label="red cube"]').hover()
    ground = page.locator("#places .ground").bounding_box()
    page.mouse.down()
    page.mouse.move(ground["x"] + ground["width"] / 4, ground["y"] + ground["height"] / 2, steps=4)
    page.mouse.up()
    page.get_by_role("button", name="Draw").click()
    code = page.locator(".cm-content")
    expect(code).to_contain_text("Place(", timeout=60_000)
    placed = re.search(r'Place\("red cube", ([0-9.]+), ([0-9.]+)\)', code.inner_text())
    assert placed is not None
    assert [float(number) for number in placed.groups()] == pytest.approx([16, 32], abs=0.5)


@pytest.mark.slow
def test_a_page_of_other_labels_is_built_with_a_scheduler_without_a_name(tmp_path: Path) -> None:
    # in a process of its own, since gradio leaves an event loop behind
    script = """
import sys
import gradio
from diffusers import EulerDiscreteScheduler
from lab_ddpm.generation.checkpoint import load_pipeline
from lab_ddpm.playground.backend import Backend
from lab_ddpm.playground.page import build

load_pipeline(sys.argv[1]).with_sampling(EulerDiscreteScheduler(use_karras_sigmas=True)).save_pretrained(sys.argv[2])
(box,) = (block for block in build(Backend(sys.argv[2])).blocks.values() if isinstance(block, gradio.Dropdown))
assert box.value == box.preprocess(box.value) == "EulerDiscreteScheduler"
"""
    pipeline = save_tiny_pipeline(tmp_path / "best", 3, ("rose", "tulip"))
    subprocess.run([sys.executable, "-c", script, str(pipeline), str(tmp_path / "karras")], check=True)


def test_an_image_that_is_shown_again_is_not_written_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from lab_ddpm.playground.page import _captioned, _shown

    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    images = np.random.default_rng(0).integers(0, 256, (2, 4, 4, 3), dtype=np.uint8)
    first = _shown(_captioned(images, ["a", "b"]))
    assert [caption for _, caption in first] == ["a", "b"]
    assert np.array_equal([np.asarray(Image.open(file)) for file, _ in first], images)
    written = [Path(file).stat().st_ino for file, _ in first]
    assert [Path(file).stat().st_ino for file, _ in _shown(_captioned(images))] == written


def test_a_port_in_use_or_out_of_range_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert main(["playground", "--port", str(port)]) == 1
    assert str(port) in capsys.readouterr().err
    assert main(["playground", "--port", "70000"]) == 2
