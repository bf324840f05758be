"""Measure how well a model sees through the noise, on images that it was not trained on."""

import sys
from pathlib import Path

from lab_ddpm.cli import run
from lab_ddpm.data.dataset import open_dataset
from lab_ddpm.generation.sampler import open_sampler
from lab_ddpm.studies.denoising import study_denoising
from lab_ddpm.tools.arguments import Parser, add_checkpoint
from lab_ddpm.tools.errors import check_at_least


def parser() -> Parser:
    parser = Parser("study-denoising", __doc__)
    parser.add_argument(
        "--dataset", default="iclevr", help="iclevr, mnist, fashion_mnist, ... or folder (default: iclevr)"
    )
    parser.add_argument("--root", type=Path, required=True, help="its folder")
    add_checkpoint(parser)
    parser.add_argument("--num-images", type=int, default=256, help="of them (default: 256)")
    parser.add_argument("--out", type=Path, default=Path("denoising"), help="default: denoising")
    return parser


def main(arguments: list[str]) -> None:
    options = parser().parse_args(arguments)
    check_at_least("num-images", options.num_images, 1)
    sampler = open_sampler(options.checkpoint)
    with_masks = sampler.denoiser.space.has_layout and (options.root / "masks").is_dir()
    dataset = open_dataset(options.dataset, options.root, sampler.denoiser.config["sample_size"], with_masks)
    table = study_denoising(dataset, sampler, options.num_images, options.out)
    print(table.read_text(encoding="utf-8") + f"wrote {table} and denoised.png beside it")


if __name__ == "__main__":
    sys.exit(run(main))
