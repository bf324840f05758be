"""Measure how evenly images change along lambda, for every way of interpolating."""

import sys
from pathlib import Path

from lab_ddpm.cli import run
from lab_ddpm.data.dataset import open_held_out
from lab_ddpm.generation.sampler import open_sampler
from lab_ddpm.studies.interpolation import study_interpolation
from lab_ddpm.tools.arguments import Parser, add_checkpoint, add_images


def parser() -> Parser:
    parser = Parser("study-interpolation", __doc__)
    add_images(parser)
    add_checkpoint(parser)
    parser.add_argument("--num-pairs", type=int, default=32, help="pairs of held-out images (default: 32)")
    parser.add_argument("--out", type=Path, default=Path("interpolation"), help="default: interpolation")
    return parser


def main(arguments: list[str]) -> None:
    options = parser().parse_args(arguments)
    sampler = open_sampler(options.checkpoint)
    real = open_held_out(options.dataset, options.root, options.held_out, sampler.denoiser.config["sample_size"])
    sampler.check_data(real)
    table = study_interpolation(real.images, sampler.pipeline, options.num_pairs, options.out)
    print(table.read_text(encoding="utf-8") + f"wrote {table} and its figures beside it")


if __name__ == "__main__":
    sys.exit(run(main))
