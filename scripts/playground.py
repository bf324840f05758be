"""Open a page in the browser that draws what is ticked on it; it is served to this machine only."""

import os
import sys

from lab_ddpm.cli import run
from lab_ddpm.playground.server import check_installed, is_taken
from lab_ddpm.playground.studio import Studio
from lab_ddpm.tools.arguments import Parser, add_checkpoint
from lab_ddpm.tools.errors import UserError


def parser() -> Parser:
    parser = Parser("playground", __doc__)
    add_checkpoint(parser)
    parser.add_argument("--port", type=int, default=7860, help="default: 7860")
    parser.add_argument("--open", action="store_true", help="open the browser, too")
    return parser


def main(arguments: list[str]) -> None:
    options = parser().parse_args(arguments)
    if not 0 < options.port < 2**16:
        raise UserError(f"`port` must be between 1 and {2**16 - 1}, got {options.port}")
    if is_taken(options.port):
        raise UserError(f"port {options.port} is in use: choose another `--port`", exit_code=1)
    check_installed()
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    from lab_ddpm.playground.page import serve

    serve(Studio(options.checkpoint), options.port, options.open)


if __name__ == "__main__":
    sys.exit(run(main))
