"""The page of the playground, in Gradio. A model with a layout has another part of it in `live`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import gradio as gr

from lab_ddpm.data.iclevr import COLOURS, OBJECTS, SHAPES
from lab_ddpm.data.images import to_pil
from lab_ddpm.diffusion.scheduler_names import SCHEDULERS
from lab_ddpm.playground.backend import Backend, Settings
from lab_ddpm.playground.live import add_live, image_route
from lab_ddpm.tools.errors import UserError

HOST = "127.0.0.1"  # only this machine can open the page
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


def serve(backend: Backend, port: int, open_browser: bool = False) -> None:
    """Serve the page at `http://127.0.0.1:PORT` until Ctrl-C.

    Raises:
        OSError: The port is in use.
    """
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
        backend.is_ended.set()


def build(backend: Backend) -> gr.Blocks:
    """The page."""
    with gr.Blocks(title=f"lab_ddpm: {backend.checkpoint.name}", analytics_enabled=False, delete_cache=_CACHE) as page:
        gr.Markdown(f"## {backend.checkpoint}")
        if backend.pipeline.denoiser.space.has_layout:
            _live(backend)
        else:
            _form(backend)
    return page


def _live(backend: Backend) -> None:
    """The image with its objects, and the settings below."""
    above = gr.Column()
    settings, code = _settings_row(backend, "Small images", 8), _code()
    with above:
        add_live(backend, settings, code)


def _form(backend: Backend) -> None:
    """Boxes to tick and the settings on the left, images on the right."""
    with gr.Row():
        with gr.Column():
            boxes = _boxes(backend.labels)
            settings = _settings_row(backend, "Images", 4)
            with gr.Row():
                start = gr.Button("Draw", variant="primary")
                stop = gr.Button("Stop")
        with gr.Column():
            images = gr.Gallery(label="Images", columns=2, height=640, format="png", elem_id="images")
            code = _code()

    def draw(*values: Any) -> Iterator[tuple[Any, ...]]:
        *groups, number, scheduler, steps, guidance, seed = values
        ticked = {label for group in groups for label in group or ()}
        condition = tuple(label for label in backend.labels if label in ticked)
        how = Settings(int(number), scheduler, int(steps), float(guidance), int(seed or 0))
        try:
            lines = backend.code(condition, [], how)
            for state in backend.draw(condition, [], how):
                captions = state.captions or [""] * len(state.images)
                yield list(zip(map(to_pil, state.images), captions, strict=True)), lines
        except UserError as error:
            raise gr.Error(str(error), print_exception=False) from None

    drawing = start.click(draw, [*boxes, *settings], [images, code], show_progress="minimal")
    stop.click(None, cancels=drawing)


def _settings_row(backend: Backend, counted: str, number: int) -> list[Any]:
    """The number of images, the sampler, the steps, the guidance and the seed."""
    sampling, config = backend.pipeline.sampling, backend.pipeline.denoiser.config
    with gr.Row():
        count = gr.Slider(1, _MOST, number, step=1, label=counted)
        seed = gr.Number(0, label="Seed", precision=0, minimum=0)
        schedulers = list(dict.fromkeys([backend.scheduler, *SCHEDULERS]))
        scheduler = gr.Dropdown(schedulers, value=backend.scheduler, label="Sampler")
        steps = gr.Slider(1, config["num_train_timesteps"], sampling.steps, step=1, label="Steps")
        guided = bool(config["condition_dropout"])
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
