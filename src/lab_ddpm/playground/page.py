"""The page of the playground, in Gradio. A model with a layout has another part of it in `live`."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.utils import get_upload_folder

from lab_ddpm.data.iclevr import COLOURS, OBJECTS, SHAPES
from lab_ddpm.data.images import Images, write_png
from lab_ddpm.diffusion.scheduler_names import SCHEDULERS
from lab_ddpm.playground.backend import Backend, Settings
from lab_ddpm.playground.live import add_live, image_route
from lab_ddpm.tools.errors import UserError

HOST = "127.0.0.1"  # only this machine can open the page
_KEPT = 64  # images in the gallery
_MOST = 16  # images at a time
_CACHE = (3600, 86_400)  # in seconds: every hour, image files that are a day old are deleted
_FONTS = {"font": ["system-ui", "sans-serif"], "font_mono": ["ui-monospace", "monospace"]}  # no web fonts
_CSS = (
    "".join(f"#{shape} label {{ width: 100%; }} " for shape in SHAPES)  # one colour per line
    + "#live .html-container { padding: 0; } "
    + "#images .caption-label { white-space: normal; max-width: 100%; } "
    # the images are small: the browser enlarges them, without smoothing
    + ".grid-wrap img, .preview img { image-rendering: pixelated; width: 100%; height: 100%; object-fit: contain; }"
)
Captioned = list[tuple[Images, str]]  # (H, W, C) uint8, and the caption below


def serve(backend: Backend, port: int, open_browser: bool = False) -> None:
    """Serve the page at `http://127.0.0.1:PORT` until Ctrl-C.

    Raises:
        OSError: The port is in use.
    """
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        del os.environ[name]  # Gradio asks its own server whether it is up, which no proxy can answer
    page = build(backend).queue(default_concurrency_limit=1)
    page.launch(
        server_name=HOST,
        server_port=port,
        inbrowser=open_browser,
        quiet=True,
        prevent_thread_lock=True,
        theme=gr.themes.Default(**_FONTS),  # pyright: ignore[reportArgumentType]
        css=_CSS,
        footer_links=[],
        app_kwargs={"routes": [image_route(backend)]} if backend.pipeline.denoiser.space.has_layout else None,
    )
    print(f"http://{HOST}:{port}  (Ctrl-C ends it)", flush=True)
    try:
        page.block_thread()
    finally:
        shutil.rmtree(_folder(), ignore_errors=True)


def build(backend: Backend) -> gr.Blocks:
    """The page."""
    with gr.Blocks(title=f"lab_ddpm: {backend.checkpoint.name}", analytics_enabled=False, delete_cache=_CACHE) as page:
        gr.Markdown(f"## {backend.checkpoint}")
        settings = _live(backend) if backend.pipeline.denoiser.space.has_layout else _form(backend)
        if len(backend.labels) > 1:
            _walk(backend, settings)
    return page


def _live(backend: Backend) -> list[Any]:
    """The image with its objects, and the settings below."""
    above = gr.Column()
    settings, code = _settings_row(backend, "Small images", 8), _code()
    with above:
        add_live(backend, settings, code)
    return settings


def _form(backend: Backend) -> list[Any]:
    """Boxes to tick and the settings on the left, images on the right."""
    with gr.Row():
        with gr.Column():
            boxes = _boxes(backend.labels)
            settings = _settings_row(backend, "Images", 4)
            with gr.Row():
                start = gr.Button("Draw", variant="primary")
                stop = gr.Button("Stop")
        with gr.Column():
            images = gr.Gallery(label="Images", columns=2, height=640, elem_id="images")
            code = _code()
    kept, gallery = gr.State([]), _gallery()

    def draw(kept: Captioned, *values: Any) -> Iterator[tuple[Any, ...]]:
        ticked = {label for group in values[: len(boxes)] for label in group or ()}
        condition, how = tuple(label for label in backend.labels if label in ticked), _settings(*values[len(boxes) :])
        try:
            lines = backend.code(condition, [], how)
            for state in backend.draw(condition, [], how):
                drawn = _captioned(state.images, state.captions)
                if state.captions:
                    kept = [*drawn, *kept][:_KEPT]
                yield _shown(drawn), lines, kept
        except UserError as error:
            raise gr.Error(str(error), print_exception=False) from None

    drawing = start.click(draw, [kept, *boxes, *settings], [images, code, kept], show_progress="minimal")
    # a separate event, since a component that gr.skip() leaves unchanged keeps all its later values in memory
    drawing.success(_shown, kept, gallery, show_progress="hidden")
    stop.click(None, cancels=drawing)
    return settings


def _settings_row(backend: Backend, counted: str, number: int) -> list[Any]:
    """What `_settings` takes: a number of images, the sampler, the steps, the guidance and the seed."""
    sampling, config = backend.pipeline.sampling, backend.pipeline.denoiser.config
    with gr.Row():
        count = gr.Slider(1, _MOST, number, step=1, label=counted)
        seed = gr.Number(0, label="Seed", precision=0, minimum=0)
        schedulers = list(dict.fromkeys([backend.scheduler, *SCHEDULERS]))
        scheduler = gr.Dropdown(schedulers, value=backend.scheduler, label="Sampler")
        steps = gr.Slider(1, config["num_train_timesteps"], sampling.steps, step=1, label="Steps")
        guided = bool(backend.labels and config["condition_dropout"])
        guidance = gr.Slider(1, 10, sampling.guidance_scale, step=0.5, label="Guidance", visible=guided)
    return [count, scheduler, steps, guidance, seed]


def _code() -> gr.Code:
    return gr.Code(label="The same in Python", language="python", interactive=False, lines=3, wrap_lines=True)


def _boxes(labels: Sequence[str]) -> list[gr.CheckboxGroup]:
    """The boxes to tick: for i-CLEVR, a column of colours for each shape; for other labels, one group."""
    if tuple(labels) != OBJECTS:
        return [gr.CheckboxGroup(list(labels), label="Labels", elem_id="labels")] if labels else []
    with gr.Row():
        return [
            gr.CheckboxGroup(
                [(colour, f"{colour} {shape}") for colour in COLOURS], label=shape, elem_id=shape, min_width=80
            )
            for shape in SHAPES
        ]


def _gallery() -> gr.Gallery:
    with gr.Accordion("Gallery of this visit", open=False):
        return gr.Gallery(columns=8, height="auto", show_label=False, elem_id="gallery")


def _walk(backend: Backend, settings: list[Any]) -> None:
    """Images from one condition to another one."""
    first, second = ("red cube", "cyan sphere, gray cylinder") if backend.labels == OBJECTS else backend.labels[:2]
    with gr.Accordion("From one condition to another", open=False):
        with gr.Row():
            ends = [gr.Textbox(first, label="From"), gr.Textbox(second, label="To")]
            count = gr.Slider(2, _MOST, 8, step=1, label="Images on the way")
        start = gr.Button("Walk")
        images = gr.Gallery(columns=8, height="auto", show_label=False)

    def walk(first: str, second: str, count: float, *how: Any) -> list[tuple[str, str]]:
        try:
            return _shown(_captioned(backend.walk([first, second], int(count), _settings(*how))))
        except UserError as error:
            raise gr.Error(str(error), print_exception=False) from None

    start.click(walk, [*ends, count, *settings], images)


def _settings(number: float, scheduler: str, steps: float, guidance: float, seed: float | None) -> Settings:
    return Settings(int(number), scheduler, int(steps), float(guidance), int(seed or 0))


def _captioned(images: Images, captions: Sequence[str] = ()) -> Captioned:
    return list(zip(images, captions or [""] * len(images), strict=True))


def _shown(images: Captioned) -> list[tuple[str, str]]:
    """Write images for a gr.Gallery to files in Gradio's cache, which Gradio deletes when they are old.

    If it got arrays, Gradio would write the same file again each time, and a reader could get half a file.
    """
    return [(str(_cached(image)), caption) for image, caption in images]


def _cached(image: Images) -> Path:
    name = hashlib.sha256(repr(image.shape).encode() + image.tobytes()).hexdigest()
    file = _folder() / f"{name}.png"
    try:
        os.utime(file)  # a file that is shown again counts as new
    except FileNotFoundError:
        write_png(file, image)
    return file


def _folder() -> Path:
    """A folder for this process alone, which deletes it at its end."""
    return Path(get_upload_folder()) / f"lab_ddpm-{os.getpid()}"
