"""Compare generated images with real ones as two sets: Frechet and kernel distance, precision, recall, copies."""

import sys
from pathlib import Path
from typing import Any

from lab_ddpm.cli import run
from lab_ddpm.data.dataset import open_dataset, open_held_out, short_name
from lab_ddpm.evaluation.classifiers import EVALUATOR_DIR
from lab_ddpm.evaluation.intervals import as_text
from lab_ddpm.generation.sampler import open_sampler
from lab_ddpm.studies.distribution import compare_with_data
from lab_ddpm.tools.arguments import Parser, add_checkpoint, add_images, add_sampling, sampling_options
from lab_ddpm.tools.errors import check_at_least
from lab_ddpm.tools.files import check_writable


def parser() -> Parser:
    parser = Parser("evaluate-distribution", __doc__)
    add_images(parser)
    parser.add_argument("--features", help="inception, or a classifier's file (default: evaluator/DATASET.safetensors)")
    add_checkpoint(parser)
    add_sampling(parser)
    parser.add_argument("--unconditional", action="store_true", help="sample under no condition at all")
    parser.add_argument("--num-images", type=int, default=5000, help="of each seed (default: 5000)")
    parser.add_argument("--num-seeds", type=int, default=3, help="seeds 0, 1, ... (default: 3)")
    parser.add_argument("--out", type=Path, default=Path("distribution"), help="default: distribution")
    return parser


def main(arguments: list[str]) -> None:
    options = parser().parse_args(arguments)
    check_at_least("num-images", options.num_images, 4)
    check_at_least("num-seeds", options.num_seeds, 1)
    check_writable(options.out)
    sampler = open_sampler(options.checkpoint, **sampling_options(options))
    size = sampler.denoiser.config["sample_size"]
    content = compare_with_data(
        sampler,
        open_dataset(options.dataset, options.root, size),
        open_held_out(options.dataset, options.root, options.held_out, size),
        options.features or str(EVALUATOR_DIR / f"{short_name(options.dataset, options.root)}.safetensors"),
        options.num_images,
        options.num_seeds,
        bool(sampler.labels) and not options.unconditional,
        options.out,
    )
    if content is not None:
        print_table(content)
        print(f"wrote metrics.json and copies.png to {options.out}/")


def print_table(content: dict[str, Any]) -> None:
    print(f"features: {content['features']}")
    print(f"{'':<16} {'model':<36} {content['num_held_out']} held-out real images")
    for key, score in content["scores"].items():
        print(f"{key:<16} {as_text(score, '.4f'):<36} {content['held_out'][key]:.4f}")


if __name__ == "__main__":
    sys.exit(run(main))
