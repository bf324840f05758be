"""The page for a model with a layout: the objects stand on the image, and the image follows them.

`objects.js` holds the objects, and `live.js` asks `POST /image` for their image, again and again while one is dragged.
This does not go through Gradio's queue: that takes longer, and keeps old values in memory.
"""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import gradio as gr
from starlette.concurrency import iterate_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from lab_ddpm.data.iclevr import COLOURS, OBJECTS, SHAPES
from lab_ddpm.data.images import Images, to_pil
from lab_ddpm.diffusion.places import disc_radius
from lab_ddpm.diffusion.sampling import image_seeds
from lab_ddpm.generation.placing import Place, draw_places
from lab_ddpm.playground.backend import Backend, Settings
from lab_ddpm.tools.errors import UserError

_URL = "/image"
_FIRST = ("red cube", "cyan sphere", "yellow cylinder")  # the objects at the start
_HERE = Path(__file__).parent
_CLOSED = 499  # the status that nginx gives to requests that were broken off; nobody reads it


def add_live(backend: Backend, settings: Sequence[Any], code: gr.Code) -> None:
    """Put the image with its objects on the page.

    Args:
        backend: Its model has a layout.
        settings: The components of the number of other seeds, the sampler, the steps, the guidance and the seed. The
            image follows them. The seed follows the image that is clicked.
        code: Shows the code that makes the image.
    """
    is_iclevr, space = backend.labels == OBJECTS, backend.pipeline.denoiser.space
    height, width = space.sample_size
    first = _FIRST if is_iclevr else backend.labels[:1]
    (places,) = draw_places(backend.pipeline.denoiser, [first], image_seeds(0, 1))
    start = {
        "url": _URL.removeprefix("/"),
        "size": [width, height],
        "radius": disc_radius(space),
        "colours": COLOURS if is_iclevr else [""],
        "shapes": SHAPES if is_iclevr else backend.labels,
        "places": [{"label": place.label, "x": round(place.x), "y": round(place.y)} for place in places],
        "settings": [setting.value for setting in settings],
    }
    files = ("live.html", "live.css", "objects.js", "live.js")
    html, css, *js = [(_HERE / file).read_text(encoding="utf-8") for file in files]
    live = gr.HTML(
        {},
        html_template=html,
        css_template=css,
        js_on_load="".join(js),
        apply_default_css=False,
        elem_id="live",
        start=start,
    )
    quiet: dict[str, Any] = {"show_progress": "hidden", "queue": False}  # in the browser alone
    live.input(None, live, [settings[-1], code], js="drawn => [drawn.seed, drawn.code]", **quiet)
    told = "(...settings) => { document.dispatchEvent(new CustomEvent('settings', { detail: settings })); return []; }"
    gr.on([setting.change for setting in settings], None, list(settings), None, js=told, **quiet)


def image_route(backend: Backend) -> Route:
    """`POST /image`: one image of objects in given places.

    The request is JSON with the keys of `read_request`. The answer is JSON: `image` (a data URL), `caption` and `code`;
    or with status 400 `error`, a sentence. A request that the browser breaks off stops at its next step.
    """

    async def answer(request: Request) -> Response:
        try:
            places, settings = read_request(await request.body())
            condition = tuple(place.label for place in places)
            code = backend.code(condition, places, settings)
            with closing(backend.draw(condition, places, settings)) as states:
                async for state in iterate_in_threadpool(states):
                    drawn = state  # the last one is finished
                    if await request.is_disconnected():
                        return Response(status_code=_CLOSED)
        except UserError as error:
            return JSONResponse({"error": str(error)}, 400)
        return JSONResponse({"image": _data_url(drawn.images[0]), "caption": drawn.captions[0], "code": code})

    return Route(_URL, answer, methods=["POST"])


def read_request(body: bytes) -> tuple[list[Place], Settings]:
    """The places and the settings of one image, from JSON such as

        {"places": [{"label": "red cube", "x": 32, "y": 27}],
         "scheduler": "ddim", "steps": 4, "guidance_scale": 1, "seed": 0}

    Raises:
        UserError: It has another form. Values are checked when the image is drawn.
    """
    try:
        wanted = json.loads(body)
        places = [Place(place["label"], float(place["x"]), float(place["y"])) for place in wanted["places"]]
        steps, scale, seed = int(wanted["steps"]), float(wanted["guidance_scale"]), int(wanted["seed"])
        if places:
            return places, Settings(1, wanted["scheduler"], steps, scale, seed)
    except (KeyError, OverflowError, RecursionError, TypeError, ValueError):
        pass
    raise UserError("a request must have places with a label, x and y, a scheduler, steps, guidance_scale and a seed")


def _data_url(image: Images) -> str:
    file = io.BytesIO()
    to_pil(image).save(file, format="PNG")
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"
