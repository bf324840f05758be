"""Write a pipeline as a folder for the Hugging Face Hub, which loads without lab_ddpm."""

import sys
from pathlib import Path

from lab_ddpm.cli import run
from lab_ddpm.export.hub import export_hub
from lab_ddpm.tools.arguments import Parser


def parser() -> Parser:
    parser = Parser("export-hub", __doc__)
    parser.add_argument("pipeline", type=Path, help="its folder, as pretrained/iclevr-cpu")
    parser.add_argument("out", type=Path, help="a new folder")
    parser.add_argument("--name", help="USER/NAME on the Hub, for the card (default: OUT)")
    return parser


def main(arguments: list[str]) -> None:
    options = parser().parse_args(arguments)
    export_hub(options.pipeline, options.out, options.name)
    print(f"wrote {options.out}; `hf upload {options.name or 'USER/NAME'} {options.out}` puts it on the Hub")


if __name__ == "__main__":
    sys.exit(run(main))
