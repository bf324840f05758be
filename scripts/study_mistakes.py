"""Sort what a model's images of i-CLEVR lack: wrong shapes, wrong colours, what its map shows; and their weave."""

import sys
from pathlib import Path

from lab_ddpm.cli import run
from lab_ddpm.data.conditions import load_conditions
from lab_ddpm.data.iclevr import OBJECTS, ROOT, resolve_split
from lab_ddpm.data.labelled_images import open_labelled_images
from lab_ddpm.evaluation.classifiers import classifier_file, load_classifier
from lab_ddpm.generation.sampler import open_sampler
from lab_ddpm.studies.mistakes import study_mistakes
from lab_ddpm.tools.arguments import SPLITS_HELP, Parser, add_checkpoint, add_sampling, sampling_options
from lab_ddpm.tools.errors import UserError, check_at_least
from lab_ddpm.tools.hardware import this_process


def parser() -> Parser:
    parser = Parser("study-mistakes", __doc__)
    parser.add_argument("--split", action="append", help=f"{SPLITS_HELP}; may be repeated (default: val)")
    parser.add_argument("--root", type=Path, default=ROOT, help=f"folder of the condition lists (default: {ROOT})")
    parser.add_argument("--real", type=Path, help="folder of real images to compare weave and sharpness with")
    add_checkpoint(parser)
    add_sampling(parser)
    parser.add_argument("--num-seeds", type=int, default=4, help="seeds 0, 1, ... (default: 4)")
    parser.add_argument("--out", type=Path, default=Path("mistakes"), help="default: mistakes")
    return parser


def main(arguments: list[str]) -> None:
    options = parser().parse_args(arguments)
    check_at_least("num-seeds", options.num_seeds, 1)
    splits = options.split or ["val"]
    if len({Path(split).stem for split in splits}) < len(splits):
        raise UserError(f"`split` must name lists of different file names, got {splits}")
    lists = {Path(split).stem: load_conditions(resolve_split(split, options.root), OBJECTS) for split in splits}
    sampler = open_sampler(options.checkpoint, **sampling_options(options))
    real = None
    if options.real is not None:
        size, fit = sampler.denoiser.config["sample_size"], sampler.pipeline.config["fit"]
        with_masks = sampler.denoiser.space.has_layout and (options.real / "masks").is_dir()
        real = open_labelled_images(options.real, size, OBJECTS, fit, with_masks)
    referee = load_classifier(classifier_file("referee"), OBJECTS).to(this_process().device)
    table = study_mistakes(sampler, lists, referee, options.num_seeds, real, options.out)
    print(table.read_text(encoding="utf-8") + f"wrote {table} and its images beside it")


if __name__ == "__main__":
    sys.exit(run(main))
