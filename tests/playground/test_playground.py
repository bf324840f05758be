"""The page of the playground for models without a layout, in a browser, and its parts without one."""

import re
import socket
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from playground_server import open_page, serving

from conftest import save_tiny_pipeline
from lab_ddpm.cli import main
from lab_ddpm.data.iclevr import OBJECTS

pytestmark = pytest.mark.skipif(find_spec("gradio") is None, reason="needs gradio")


@pytest.mark.slow
def test_ticked_objects_are_generated_and_captioned(tmp_path: Path) -> None:
    from lab_ddpm.playground.backend import Backend, Settings

    checkpoint = save_tiny_pipeline(tmp_path / "best", 3, OBJECTS)
    with serving(checkpoint) as address, open_page(address) as page:
        page.locator("#cube").get_by_label("red").check()
        page.locator("#sphere").get_by_label("cyan").check()
        page.get_by_role("button", name="Draw").click()
        page.wait_for_selector("#images .caption-label")
        captions = page.locator("#images .caption-label").all_inner_texts()
        *_, last = Backend(checkpoint).draw(("red cube", "cyan sphere"), [], Settings())
        assert [re.sub(r"\s+", " ", caption).strip() for caption in captions] == list(last.captions)
        assert '["red cube, cyan sphere"] * 4' in page.locator(".cm-content").inner_text()


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


def test_a_port_in_use_or_out_of_range_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert main(["playground", "--port", str(port)]) == 1
    assert str(port) in capsys.readouterr().err
    assert main(["playground", "--port", "70000"]) == 2
