"""The image of objects in given places: over HTTP with a small model, and on the page with the shipped one."""

import json
import re
from collections.abc import Iterator
from functools import cache
from importlib.util import find_spec
from typing import Any

import numpy as np
import pytest
from playground_server import PRETRAINED, decode, open_page, serving

from conftest import save_tiny_pipeline
from lab_ddpm.diffusion.sampling import image_seeds
from lab_ddpm.generation.placing import Place, draw_places
from lab_ddpm.playground.backend import Backend, Settings

pytestmark = pytest.mark.skipif(find_spec("gradio") is None, reason="needs gradio")
GOOD = {"places": [{"label": "a", "x": 8, "y": 9.5}], "scheduler": "ddim", "steps": 2, "guidance_scale": 1, "seed": 3}
# Answers of the server come 0.2 s late, and `most` counts how many requests were open at a time.
COUNTING = """
  let open = 0;
  const real = window.fetch;
  window.most = 0;
  window.fetch = async (url, options) => {
    if (url !== 'image') return real(url, options);
    window.most = Math.max(window.most, ++open);
    try {
      const answer = await real(url, options);
      await new Promise(done => setTimeout(done, 200));
      return answer;
    } finally {
      open--;
    }
  };
"""


@pytest.fixture(scope="module")
def post(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Sends a body to the route: the status and the content of the answer."""
    from starlette.applications import Starlette
    from starlette.testclient import TestClient

    from lab_ddpm.playground.live import image_route

    folder = tmp_path_factory.mktemp("tiny")
    backend = Backend(save_tiny_pipeline(folder, 3, ("a", "b"), layout_scale=2.0, prediction_type="sample"))
    client = TestClient(Starlette(routes=[image_route(backend)]))

    def post(body: object) -> tuple[int, Any]:
        answer = client.post("/image", content=body if isinstance(body, bytes) else json.dumps(body))
        return answer.status_code, answer.json()

    post.backend = backend  # pyright: ignore[reportFunctionMemberAccess]
    return post


def test_the_route_answers_with_the_image_of_the_places(post: Any) -> None:
    status, content = post(GOOD)
    places, settings = [Place("a", 8, 9.5)], Settings(1, "ddim", 2, 1.0, 3)
    *_, last = post.backend.draw(("a",), places, settings)
    assert status == 200
    np.testing.assert_array_equal(decode(content["image"]), last.images[0])
    assert content["code"] == post.backend.code(("a",), places, settings)
    assert content["caption"] == last.captions[0]


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"places": [{"label": "d", "x": 1, "y": 1}]}, "'d'"),
        ({"places": [{"label": "a", "x": 32, "y": 1}]}, "32"),
        ({"places": [{"label": "a", "x": float("nan"), "y": 1}]}, "nan"),
        ({"places": [{"label": "a", "x": 1e999, "y": 1}]}, "inf"),
        ({"places": [{"label": "a", "x": "?", "y": 1}]}, "place"),
        ({"places": [{"label": "a", "x": 8, "y": 8}, {"label": "b", "x": 8, "y": 8}]}, "apart"),
        ({"places": [{"label": "a", "x": 8, "y": 8}, {"label": "a", "x": 20, "y": 8}]}, "twice"),
        ({"places": []}, "places"),
        ({"places": 1}, "places"),
        ({"steps": 10**9}, "steps"),
        ({"steps": 0}, "steps"),
        ({"seed": -1}, "seed"),
        ({"seed": None}, "seed"),
        ({"guidance_scale": float("inf")}, "guidance_scale"),
        ({"guidance_scale": -1}, "guidance_scale"),
        ({"guidance_scale": 10**400}, "guidance_scale"),
        ({"scheduler": "magic"}, "magic"),
    ],
)
def test_a_wrong_request_is_answered_with_one_sentence(post: Any, change: dict[str, Any], named: str) -> None:
    status, content = post(GOOD | change)
    assert status == 400
    assert [*content] == ["error"]
    assert named in content["error"]
    assert "\n" not in content["error"]


@pytest.mark.parametrize("body", [b"", b"?", b"\xff", b"[]", b"[" * 100_000, b'{"seed": ' + b"9" * 5000 + b"}"])
def test_what_is_no_request_is_refused(post: Any, body: bytes) -> None:
    assert post(body)[0] == 400


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with serving(PRETRAINED) as address:
        yield address


@pytest.fixture
def page(address: str) -> Iterator[Any]:
    """The page, without objects."""
    with open_page(address, COUNTING) as page:
        page.wait_for_selector("#live .handle", state="attached")
        for handle in reversed(page.locator(".handle").all()):
            handle.focus()
            page.keyboard.press("Delete")
        yield page


def place_of(page: Any, x: float, y: float) -> tuple[float, float]:
    """The point of the screen at x, y of the 64 x 64 pixels of the picture."""
    box = page.locator(".picture").bounding_box()
    return box["x"] + box["width"] * x / 64, box["y"] + box["height"] * y / 64


def put(page: Any, label: str, x: float, y: float) -> None:
    colour, shape = label.split()
    page.get_by_role("button", name=shape, exact=True).click()
    page.get_by_role("button", name=colour, exact=True).click()
    page.mouse.click(*place_of(page, x, y))


def wait(page: Any) -> None:
    """Until the picture and its small ones are drawn."""
    page.wait_for_selector(".seeds:not(.old)")


def source(page: Any) -> str:
    return page.locator(".drawn").get_attribute("src")


def shown_places(page: Any) -> list[Place]:
    """The places in the Python code on the page, after a check that the picture is theirs."""
    wait(page)
    page.wait_for_function(
        "code => code.innerText.includes('Place(')", arg=page.locator(".cm-content").element_handle()
    )
    code = re.sub(r"\s+", " ", page.locator(".cm-content").inner_text())
    found = re.findall(r'Place\("([a-z ]+)", ([\d.]+), ([\d.]+)\)', code)
    places = [Place(label, float(x), float(y)) for label, x, y in found]
    seed = int(re.findall(r"image_seeds\((\d+),", code)[0])
    *_, last = shipped().draw(tuple(place.label for place in places), places, Settings(1, seed=seed))
    difference = np.abs(decode(source(page)).astype(int) - last.images[0])
    assert difference.max() <= 2
    return [Place(place.label, round(place.x), round(place.y)) for place in places]


@cache
def shipped() -> Backend:
    return Backend(PRETRAINED)


@pytest.mark.slow
def test_the_first_objects_stand_where_the_first_image_has_them(address: str) -> None:
    condition = ("red cube", "cyan sphere", "yellow cylinder")
    (places,) = draw_places(shipped().pipeline.denoiser, [condition], image_seeds(0, 1))
    with open_page(address) as page:
        assert shown_places(page) == [Place(place.label, round(place.x), round(place.y)) for place in places]


@pytest.mark.slow
def test_a_click_puts_down_what_is_chosen(page: Any) -> None:
    put(page, "cyan sphere", 16, 32)
    put(page, "red cube", 40, 32)
    assert shown_places(page) == [Place("cyan sphere", 16, 32), Place("red cube", 40, 32)]
    assert page.locator(".kind").inner_text() == "Put down: blue cube"  # each kind stands only once


@pytest.mark.slow
def test_the_picture_follows_a_drag_with_one_request_at_a_time(page: Any) -> None:
    put(page, "red cube", 20, 32)
    wait(page)
    before = source(page)
    page.mouse.move(*place_of(page, 20, 32))
    page.mouse.down()
    page.mouse.move(*place_of(page, 30, 32), steps=30)
    page.wait_for_function("before => document.querySelector('.drawn').src !== before", arg=before)
    page.mouse.move(*place_of(page, 44, 40), steps=30)
    page.mouse.up()
    assert shown_places(page) == [Place("red cube", 44, 40)]  # the last place of many
    assert page.evaluate("window.most") == 1


@pytest.mark.slow
def test_an_object_is_changed_moved_and_removed(page: Any) -> None:
    put(page, "red cube", 32, 32)
    put(page, "green cylinder", 50, 40)
    page.mouse.click(*place_of(page, 32, 32))
    page.get_by_role("button", name="blue", exact=True).click()
    page.get_by_role("button", name="sphere", exact=True).click()
    page.locator(".handle").first.focus()
    for key in ("ArrowLeft", "Shift+ArrowUp"):
        page.keyboard.press(key)
    assert shown_places(page) == [Place("blue sphere", 31, 28), Place("green cylinder", 50, 40)]
    page.get_by_role("button", name="Remove").click()
    assert shown_places(page) == [Place("green cylinder", 50, 40)]


@pytest.mark.slow
def test_a_small_picture_gives_its_seed(page: Any) -> None:
    put(page, "red cube", 32, 32)
    wait(page)
    small = page.locator(".seeds button").nth(3)
    small.click()
    page.wait_for_function(
        "() => document.querySelector('.drawn').src === document.querySelectorAll('.seeds img')[3].src"
    )
    assert shown_places(page) == [Place("red cube", 32, 32)]
    assert page.get_by_label("Seed", exact=True).input_value() == "3"


@pytest.mark.slow
def test_an_error_leaves_the_picture_and_its_objects(page: Any) -> None:
    put(page, "red cube", 12, 12)
    put(page, "cyan sphere", 44, 44)
    shown_places(page)
    drag(page, (12, 12), (-5, -5))  # stops in the corner
    wait(page)
    before = source(page)
    drag(page, (44, 44), (-5, -5))
    page.wait_for_selector(".says.wrong")
    assert "further apart" in page.locator(".says").inner_text()
    assert page.locator(".handle").count() == 2
    assert page.locator(".drawn").get_attribute("src")
    page.locator(".handle").nth(1).focus()
    for _ in range(4):
        page.keyboard.press("Shift+ArrowRight")
    assert shown_places(page) == [Place("red cube", 0, 0), Place("cyan sphere", 16, 0)]
    assert source(page) != before
    assert page.locator(".says.wrong").count() == 0


def drag(page: Any, start: tuple[float, float], end: tuple[float, float]) -> None:
    page.mouse.move(*place_of(page, *start))
    page.mouse.down()
    page.mouse.move(*place_of(page, *end), steps=10)
    page.mouse.up()
