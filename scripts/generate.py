"""Sample images from a trained model; write them, a grid and a manifest."""

import sys
from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path

import torch

from lab_ddpm.cli import run
from lab_ddpm.data.conditions import Condition, every_label, join_condition, load_conditions, parse_condition
from lab_ddpm.data.iclevr import MOST_OBJECTS, OBJECTS, ROOT, SPLITS, resolve_split
from lab_ddpm.diffusion.reverse_process import image_seeds
from lab_ddpm.drawing.figures import DenoisingRecorder
from lab_ddpm.drawing.generated import GeneratedFolder
from lab_ddpm.generation.checking import sample_checked
from lab_ddpm.generation.checkpoint import PRETRAINED
from lab_ddpm.generation.placing import Place, parse_place, sample_placed
from lab_ddpm.generation.sampler import Sampler, open_sampler
from lab_ddpm.tools.arguments import SPLITS_HELP, Parser, add_checkpoint, add_sampling, sampling_options
from lab_ddpm.tools.errors import UserError, check_at_least
from lab_ddpm.tools.hardware import this_process

DEFAULT_IMAGES = 64


def parser() -> Parser:
    parser = Parser("generate", __doc__)
    wanted = parser.add_mutually_exclusive_group()
    wanted.add_argument("--split", help=f"an image per condition of: {SPLITS_HELP} (default for i-CLEVR: test)")
    wanted.add_argument(
        "--objects", nargs="+", metavar="LABEL", help='a condition: "red cube" "cyan sphere", or with commas'
    )
    wanted.add_argument(
        "--place", nargs="+", metavar="LABEL@X,Y", help='objects and their middles in pixels: "red cube@20,30"'
    )
    wanted.add_argument("--unconditional", action="store_true", help="images under no condition at all")
    number = "so many of --objects or --place (default: 1), --unconditional or else every label alike (default: 64)"
    parser.add_argument("--num-images", type=int, help=number)
    composed = "conditions that {} beside --objects or --unconditional"
    parser.add_argument("--and", dest="also", nargs="+", metavar="LABELS", help=composed.format("hold"))
    parser.add_argument("--not", dest="without", nargs="+", metavar="LABELS", help=composed.format("do not hold"))
    parser.add_argument("--tries", type=int, default=1, help="draw again what the model sees mistakes in (default: 1)")
    add_checkpoint(parser)
    add_sampling(parser)
    parser.add_argument("--root", type=Path, default=ROOT, help=f"folder of the condition lists (default: {ROOT})")
    parser.add_argument("--seed", type=int, default=0, help="default: 0")
    parser.add_argument("--out", type=Path, help="default: generated/NAME, named after what is sampled")
    parser.add_argument("--progress", action="store_true", help="also write the denoising strip and a GIF")
    return parser


def main(arguments: list[str]) -> None:
    options = parser().parse_args(arguments)
    check_at_least("seed", options.seed, 0)
    check_at_least("tries", options.tries, 1)
    if options.tries > 1 and (options.place or options.progress):
        raise UserError("`--tries` goes neither with `--place` nor with `--progress`")
    if options.also or options.without:
        if options.tries > 1:
            raise UserError("`--tries` goes neither with `--and` nor with `--not`")
        if options.objects is None and not options.unconditional:
            raise UserError("`--and` and `--not` go with `--objects` or with `--unconditional`")
    if options.num_images is not None:
        check_at_least("num-images", options.num_images, 1)
        if options.split is not None:
            raise UserError("`--num-images` does not go with `--split`, which has one image per condition")
    places = [parse_place(words) for words in options.place or ()]
    sampler = open_sampler(options.checkpoint, **sampling_options(options))
    name, conditions = wanted(sampler, options, places)
    asked: list[Condition] | torch.Tensor = conditions
    details: Mapping[str, object] = {"places": options.place} if places else {}
    if options.tries > 1:
        details = {"tries": options.tries}
    if options.also or options.without:
        all_of = [condition for condition in (conditions[0], *conditions_of(options.also, sampler)) if condition]
        none_of = conditions_of(options.without, sampler)
        asked = torch.stack([sampler.denoiser.compose(all_of, none_of)] * len(conditions))
        conditions = [tuple(dict.fromkeys(label for condition in all_of for label in condition))] * len(conditions)
        name, details = "composed", {"and": all_of, "not": none_of}
    if sampler.labels == OBJECTS and max(map(len, conditions)) > MOST_OBJECTS and this_process().is_main_process:
        print(f"more than {MOST_OBJECTS} objects: no training image shows so many, and some may be missing")
    folder = GeneratedFolder(options.out or Path("generated") / name)
    recorder = None
    if options.progress:
        recorder = DenoisingRecorder(num_train_timesteps=sampler.denoiser.config["num_train_timesteps"])
    seeds = image_seeds(options.seed, len(conditions))
    if options.tries > 1:
        samples = sample_checked(sampler, conditions, seeds, options.tries, progress="sampling")
    elif places:
        samples = sample_placed(sampler, [places] * len(conditions), seeds, progress="sampling", on_state=recorder)
    else:
        samples = sampler.sample(asked, seeds, progress="sampling", on_state=recorder)
    if this_process().is_main_process:
        if options.tries > 1:
            later = sum(used != first for used, first in zip(samples.seeds, seeds, strict=True))
            print(f"{later} of {len(seeds)} images are later tries, in which the model sees fewer mistakes")
        print(folder.write(samples, conditions, sampler, name, recorder, details))


def conditions_of(words: list[str] | None, sampler: Sampler) -> list[Condition]:
    """The conditions of an option's arguments."""
    return [parse_condition(text, sampler.labels) for text in words or ()]


def wanted(sampler: Sampler, options: Namespace, places: list[Place]) -> tuple[str, list[Condition]]:
    """The name of what is sampled, and a condition for each image; empty conditions for none."""
    labels, split, objects, num_images = sampler.labels, options.split, options.objects, options.num_images
    if places:
        return "placed", [tuple(place.label for place in places)] * (num_images or 1)
    if objects is not None:
        return "objects", [join_condition(objects, labels)] * (num_images or 1)
    if split is None and num_images is None and not options.unconditional and labels == OBJECTS:
        split = "test"
    if split is not None:
        if split in SPLITS and labels != OBJECTS:
            raise UserError(
                f"`split` {split!r} is of i-CLEVR, and {sampler.checkpoint} was not trained on its objects: "
                f"`--checkpoint {PRETRAINED}` was"
            )
        if not labels:
            raise UserError(f"`split` needs a model with labels, and {sampler.checkpoint} is unconditional")
        return Path(split).stem, load_conditions(resolve_split(split, options.root), labels)
    num_images = num_images or DEFAULT_IMAGES
    if options.unconditional or not labels:
        return "unconditional", [()] * num_images
    return "labels", every_label(labels, num_images)


if __name__ == "__main__":
    sys.exit(run(main))
