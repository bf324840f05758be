"""The page in a real browser, with the shipped pipeline: two objects are ticked, and an image of them comes."""

import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from shutil import which
from typing import Any

import numpy as np
import pytest
from PIL import Image

from lab_ddpm.playground.server import running_playground
from lab_ddpm.playground.studio import Settings, Studio

pytest.importorskip("gradio")
CHROMIUM = which("chromium")
ROOT = Path(__file__).parents[2]
PRETRAINED = "pretrained/iclevr-cpu"


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """Of a playground for a browser; skips where there is none."""
    if CHROMIUM is None:
        pytest.skip("needs chromium")
    with running_playground(Path(PRETRAINED)) as (address, _):
        yield address


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


def test_what_is_ticked_is_drawn_and_its_ticks_are_right(page: Any) -> None:
    page.locator("#cube").get_by_label("red").check()
    page.locator("#sphere").get_by_label("cyan").check()
    page.get_by_role("button", name="Draw").click()
    page.wait_for_selector("#images .caption-label")
    captions = page.locator("#images .caption-label").all_inner_texts()
    code = page.locator(".cm-content").inner_text()
    *_, last = Studio(Path(PRETRAINED)).draw(("red cube", "cyan sphere"), [], Settings())
    assert [re.sub(r"\s+", " ", caption).strip() for caption in captions] == list(last.captions)
    assert '["red cube, cyan sphere"] * 4' in code
    page.get_by_text("Gallery of this visit").click()
    page.wait_for_selector("#gallery .caption-label")
    assert page.locator("#gallery .caption-label").all_inner_texts() == captions


def test_an_object_is_drawn_where_its_disc_was_dragged_to(page: Any) -> None:
    from playwright.sync_api import expect

    page.get_by_label("Put the objects where the discs are").check()
    page.locator("#cube").get_by_label("red").check()
    disc = page.locator('#places [data-label="red cube"]')
    disc.hover()
    ground = page.locator("#places .ground").bounding_box()
    assert ground is not None
    page.mouse.down()
    page.mouse.move(ground["x"] + ground["width"] / 4, ground["y"] + ground["height"] / 2, steps=4)
    page.mouse.up()
    page.get_by_role("button", name="Draw").click()
    code = page.locator(".cm-content")
    expect(code).to_contain_text("Place(", timeout=60_000)
    placed = re.search(r'Place\("red cube", ([0-9.]+), ([0-9.]+)\)', code.inner_text())
    assert placed is not None
    assert [float(number) for number in placed.groups()] == pytest.approx([16, 32], abs=0.5)


def test_a_image_that_is_shown_again_is_not_written_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from lab_ddpm.playground.page import _captioned, _shown

    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    images = np.random.default_rng(0).integers(0, 256, (2, 4, 4, 3), dtype=np.uint8)
    first, again = (_shown(_captioned(images, ["a", "b"])) for _ in range(2))
    assert first == again
    assert [caption for _, caption in first] == ["a", "b"]
    assert np.array_equal([np.asarray(Image.open(file)) for file, _ in first], images)
    written = [Path(file).stat().st_ino for file, _ in first]
    assert [Path(file).stat().st_ino for file, _ in _shown(_captioned(images))] == written  # the same files


def test_a_port_in_use_is_one_line() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        command = [sys.executable, "scripts/playground.py", "--checkpoint", PRETRAINED, "--port", str(port)]
        done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 1
    assert done.stderr.splitlines() == [f"lab-ddpm: port {port} is in use: choose another `--port`"]
