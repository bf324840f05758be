"""A running playground, and its page in a browser."""

import base64
import io
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from shutil import which
from typing import Any

import numpy as np
import pytest
from PIL import Image

from lab_ddpm.data.images import Images

CHROMIUM = which("chromium")
PRETRAINED = Path(__file__).parents[2] / "pretrained" / "iclevr-cpu"
TIMEOUT = 300.0  # seconds for the server to start


@contextmanager
def serving(checkpoint: Path) -> Iterator[str]:
    """The address of a playground in a process of its own. Skips the test without a browser."""
    if CHROMIUM is None:
        pytest.skip("needs chromium")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "lab_ddpm", "playground", "--checkpoint", str(checkpoint), "--port", str(port)]
    proxies = {"http_proxy": "http://127.0.0.1:9", "ALL_PROXY": "socks5://127.0.0.1:9"}  # as in many labs
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ | proxies) as server:
        try:
            end, url = time.monotonic() + TIMEOUT, f"http://127.0.0.1:{port}"
            assert server.stdout is not None
            while not server.stdout.readline().startswith(url):
                assert server.poll() is None
                assert time.monotonic() < end
            yield url
        finally:
            server.terminate()


@contextmanager
def open_page(address: str, script: str = "") -> Iterator[Any]:
    """The page in a browser, in which a script runs first."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page()
        page.set_default_timeout(60_000)
        page.add_init_script(script)
        page.goto(address)
        yield page
        browser.close()


def decode(url: str) -> Images:
    """The (H, W, C) image of a data URL."""
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))))
