"""Record the GIF of the README: an object is dragged, recoloured and put down in the playground. Needs chromium.

    python benchmarks/playground_gif.py

It writes `docs/images/playground.gif`. Each frame of a drag waits for its image, and all are shown at ten a second.
"""

from __future__ import annotations

import argparse
import io
import math
import sys
from collections.abc import Iterator
from pathlib import Path
from shutil import which
from typing import Any

import numpy as np
from PIL import Image

from lab_ddpm.cli import run
from lab_ddpm.generation.checkpoint import PRETRAINED
from soak import running_playground

_PAGE, _WIDTH = {"width": 1024, "height": 720}, 760  # pixels of the page, and of the GIF
_DRAWN = ".picture[aria-busy=false]"
_FRAME, _PAUSE, _END = 100, 500, 1200  # milliseconds
_POINTER = """
addEventListener('DOMContentLoaded', () => {
  const pointer = document.createElement('div');
  pointer.innerHTML = '<svg width="22" height="30"><path d="M1 1v22l6-5 4 9 4-2-4-8h8z" stroke="white"/></svg>';
  pointer.style = 'position: fixed; z-index: 9; pointer-events: none';
  document.documentElement.append(pointer);
  addEventListener('pointermove', ({ clientX, clientY }) => {
    Object.assign(pointer.style, { left: `${clientX}px`, top: `${clientY}px` });
  }, true);
});
"""  # a screenshot has no pointer

Frame = tuple[Image.Image, int]  # and the milliseconds that it is shown


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", type=Path, default=PRETRAINED, help=f"with a layout (default: {PRETRAINED})")
    parser.add_argument("--out", type=Path, default=Path("docs/images/playground.gif"), help="(default: %(default)s)")
    options = parser.parse_args(arguments)

    from playwright.sync_api import sync_playwright

    with running_playground(options.checkpoint) as (port, _), sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=which("chromium"), args=["--no-sandbox"])
        page = browser.new_page(viewport=_PAGE)  # pyright: ignore[reportArgumentType]
        page.add_init_script(_POINTER)
        page.goto(f"http://127.0.0.1:{port}")
        frames, durations = zip(*_film(page), strict=True)
        browser.close()
    together = Image.fromarray(np.concatenate([np.asarray(frame) for frame in frames[::4]]))
    palette = together.quantize(256, method=Image.Quantize.MAXCOVERAGE)
    first, *rest = [frame.quantize(palette=palette) for frame in frames]
    first.save(options.out, save_all=True, append_images=rest, duration=durations, loop=0, optimize=True)
    size = options.out.stat().st_size / 1e6
    print(f"{options.out}: {len(frames)} frames, {sum(durations) / 1000:.1f} s, {size:.2f} MB")


def _film(page: Any) -> Iterator[Frame]:
    yield _shot(page, ".seeds:not(.old)", _PAUSE)
    x, y = _middle(page, 2)
    yield from _drag(page, (x, y), (14, 44), 12)
    page.mouse.click(*_point(page, 14, 44))
    yield _shot(page, ".seeds:not(.old)", _PAUSE)
    for choice in ("purple", "sphere"):
        page.get_by_role("button", name=choice, exact=True).click()
        yield _shot(page, _DRAWN, _PAUSE)
    page.mouse.click(*_point(page, 60, 60))  # ends the selection
    page.get_by_role("button", name="blue", exact=True).click()
    yield _shot(page, ".seeds:not(.old)", _PAUSE)
    page.mouse.click(*_point(page, 44, 46))
    yield _shot(page, _DRAWN, _PAUSE)
    yield from _drag(page, (44, 46), (52, 42), 8)
    yield _shot(page, ".seeds:not(.old)", _END)


def _drag(page: Any, start: tuple[float, float], end: tuple[float, float], count: int) -> Iterator[Frame]:
    page.mouse.move(*_point(page, *start))
    page.mouse.down()
    for index in range(1, count + 1):
        share = (1 - math.cos(math.pi * index / count)) / 2  # starts and ends slowly
        page.mouse.move(*_point(page, *(a + share * (b - a) for a, b in zip(start, end, strict=True))))
        yield _shot(page, _DRAWN, _FRAME)
    page.mouse.up()


def _middle(page: Any, index: int) -> tuple[float, float]:
    """The place of an object, in the 64 x 64 pixels of the image."""
    label = page.locator(".handle").nth(index).get_attribute("aria-label")
    x, y = label.partition(" at ")[2].split(", ")
    return float(x), float(y)


def _point(page: Any, x: float, y: float) -> tuple[float, float]:
    """The point of the screen at x, y of the 64 x 64 pixels of the image."""
    box = page.locator(".picture").bounding_box()
    return box["x"] + box["width"] * x / 64, box["y"] + box["height"] * y / 64


def _shot(page: Any, awaited: str, milliseconds: int) -> Frame:
    page.wait_for_selector(awaited)
    box = page.locator("#live").bounding_box()
    clip = {"x": box["x"] - 8, "y": box["y"] - 8, "width": box["width"] + 16, "height": box["height"] + 16}
    image = Image.open(io.BytesIO(page.screenshot(clip=clip))).convert("RGB")
    return image.resize((_WIDTH, round(_WIDTH * image.height / image.width)), Image.Resampling.LANCZOS), milliseconds


if __name__ == "__main__":
    sys.exit(run(main))
