"""Write a pipeline's network for torch.export.load, for programs that have PyTorch and not lab_ddpm."""

import sys

from lab_ddpm.cli import run
from lab_ddpm.generation.checkpoint import find_checkpoint, load_pipeline
from lab_ddpm.generation.torch_export import export_torch
from lab_ddpm.tools.arguments import Parser, add_checkpoint


def parser() -> Parser:
    parser = Parser("export-torch", __doc__)
    add_checkpoint(parser)
    return parser


def main(arguments: list[str]) -> None:
    checkpoint = find_checkpoint(parser().parse_args(arguments).checkpoint)
    file = export_torch(load_pipeline(checkpoint).denoiser, checkpoint)
    print(f"wrote {file} ({file.stat().st_size / 2**20:.0f} MiB)")


if __name__ == "__main__":
    sys.exit(run(main))
