"""Measure how well a model reads images, places objects, checks itself and edits."""

import sys
from pathlib import Path

from lab_ddpm.cli import run
from lab_ddpm.data.iclevr import OBJECTS
from lab_ddpm.data.labelled_images import open_labelled_images
from lab_ddpm.evaluation.classifiers import classifier_file, load_classifier
from lab_ddpm.generation.sampler import open_sampler
from lab_ddpm.studies.layout import study_layout
from lab_ddpm.tools.arguments import Parser, add_checkpoint, add_sampling, sampling_options
from lab_ddpm.tools.errors import check_at_least
from lab_ddpm.tools.hardware import this_process


def parser() -> Parser:
    parser = Parser("study-layout", __doc__)
    parser.add_argument("--root", type=Path, required=True, help="images with masks that were never trained on")
    add_checkpoint(parser)
    add_sampling(parser)
    parser.add_argument("--num-images", type=int, default=96, help="of them (default: 96)")
    parser.add_argument("--out", type=Path, default=Path("layout"), help="default: layout")
    return parser


def main(arguments: list[str]) -> None:
    options = parser().parse_args(arguments)
    check_at_least("num-images", options.num_images, 1)
    sampler = open_sampler(options.checkpoint, **sampling_options(options))
    size, fit = sampler.denoiser.config["sample_size"], sampler.pipeline.config["fit"]
    dataset = open_labelled_images(options.root, size, OBJECTS, fit, with_masks=True)
    referee = load_classifier(classifier_file("referee"), OBJECTS).to(this_process().device)
    table = study_layout(dataset, sampler, referee, options.num_images, options.out)
    print(table.read_text(encoding="utf-8") + f"wrote {table} and its images beside it")


if __name__ == "__main__":
    sys.exit(run(main))
