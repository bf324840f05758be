"""Start a web page on which you move objects in an image, or choose labels; only this machine can see it."""

import os
import socket
import sys

from lab_ddpm.arguments import Parser, add_checkpoint
from lab_ddpm.cli import load_torch, run
from lab_ddpm.tools.errors import UserError
from lab_ddpm.tools.extras import require_extra


def parser() -> Parser:
    parser = Parser("playground", __doc__)
    add_checkpoint(parser)
    parser.add_argument("--port", type=int, default=7860, help="default: 7860")
    parser.add_argument("--open", action="store_true", help="also open the page in the browser")
    return parser


def main(arguments: list[str]) -> None:
    options = parser().parse_args(arguments)
    if not 0 < options.port < 2**16:
        raise UserError(f"`port` must be between 1 and {2**16 - 1}, got {options.port}")
    with socket.socket() as probe:
        if probe.connect_ex(("127.0.0.1", options.port)) == 0:
            raise UserError(f"port {options.port} is in use: choose another `--port`", exit_code=1)
    require_extra("gradio")
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    load_torch("opening the playground")

    from lab_ddpm.playground.backend import Backend

    backend = Backend(options.checkpoint)  # a wrong checkpoint is refused before Gradio is loaded, which takes seconds

    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        del os.environ[name]  # Gradio asks its own server whether it is up, which a proxy cannot reach

    from lab_ddpm.playground.page import serve

    serve(backend, options.port, options.open)


if __name__ == "__main__":
    sys.exit(run(main))
