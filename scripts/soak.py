"""Ask the playground for images from many clients at once: are all right, and does its memory stay flat?"""

import sys
from pathlib import Path

from lab_ddpm.cli import run
from lab_ddpm.generation.checkpoint import PRETRAINED
from lab_ddpm.playground.server import check_installed
from lab_ddpm.playground.soak import soak
from lab_ddpm.tools.arguments import Parser


def parser() -> Parser:
    parser = Parser("soak", __doc__)
    parser.add_argument("--checkpoint", type=Path, default=PRETRAINED, help=f"of i-CLEVR (default: {PRETRAINED})")
    parser.add_argument("--requests", type=int, default=1000, help="of all clients together (default: 1000)")
    parser.add_argument("--clients", type=int, default=8, help="at the same time (default: 8)")
    parser.add_argument("--seed", type=int, default=0, help="of what is asked for (default: 0)")
    return parser


def main(arguments: list[str]) -> int:
    options = parser().parse_args(arguments)
    check_installed()
    outcome = soak(options.checkpoint, options.requests, options.clients, options.seed)
    print(*outcome.lines(), sep="\n")
    return 0 if outcome.is_good else 1


if __name__ == "__main__":
    sys.exit(run(main))
