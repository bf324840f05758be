"""Generate images; write them with a grid and a manifest."""

import sys
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lab_ddpm.arguments import SPLITS_HELP, Parser, add_checkpoint, add_sampling, sampling_options
from lab_ddpm.cli import load_torch, run
from lab_ddpm.data.conditions import Condition, every_label, join_condition, load_conditions, parse_condition
from lab_ddpm.data.iclevr import MOST_OBJECTS, OBJECTS, ROOT, SPLITS, resolve_split
from lab_ddpm.tools.errors import UserError, check_at_least

DEFAULT_IMAGES = 64


def parser() -> Parser:
    parser = Parser("generate", __doc__)
    wanted = parser.add_mutually_exclusive_group()
    wanted.add_argument("--split", help=f"a list of conditions: {SPLITS_HELP} (default for i-CLEVR: test)")
    several: dict[str, Any] = {"nargs": "+", "action": "extend"}
    wanted.add_argument("--objects", **several, metavar="LABEL", help='what each image shows: "red cube" "cyan sphere"')
    wanted.add_argument(
        "--place", **several, metavar="LABEL@X,Y", help='objects and their centers in pixels: "red cube@20,30"'
    )
    wanted.add_argument("--unconditional", action="store_true", help="images without a condition")
    number = "images to make (default: 1 with --objects or --place, else 64, which show each label in turn)"
    parser.add_argument("--num-images", type=int, help=number)
    composed = "with --objects or --unconditional: conditions that must {} hold"
    parser.add_argument("--and", dest="also", **several, metavar="LABELS", help=composed.format("also"))
    parser.add_argument("--not", dest="without", **several, metavar="LABELS", help=composed.format("not"))
    add_checkpoint(parser)
    add_sampling(parser)
    parser.add_argument("--root", type=Path, default=ROOT, help=f"folder of the condition lists (default: {ROOT})")
    parser.add_argument("--seed", type=int, default=0, help="default: 0")
    parser.add_argument("--out", type=Path, help="default: generated/NAME, such as generated/objects")
    parser.add_argument("--progress", action="store_true", help="also write the denoising strip and a GIF")
    return parser


def main(arguments: list[str]) -> None:
    options = parser().parse_args(arguments)
    check_options(options)
    load_torch("generating images")
    from lab_ddpm.diffusion.sampling import image_seeds
    from lab_ddpm.drawing.figures import DenoisingRecorder
    from lab_ddpm.drawing.generated import GeneratedFolder
    from lab_ddpm.generation.checkpoint import PRETRAINED, open_pipeline
    from lab_ddpm.generation.generate import generate
    from lab_ddpm.generation.placing import generate_placed, parse_place
    from lab_ddpm.tools.hardware import this_process

    places = [parse_place(text) for text in options.place or ()]
    pipeline = open_pipeline(options.checkpoint, **sampling_options(options))
    denoiser = pipeline.denoiser
    if places:
        if denoiser.placer is None:
            choice = f"use another, such as `--checkpoint {PRETRAINED}`"
            raise UserError(f"`--place` needs a model with a layout, and {pipeline.checkpoint} has none; {choice}")
        name, conditions = "placed", [tuple(place.label for place in places)] * (options.num_images or 1)
    else:
        name, conditions = choose_conditions(options, denoiser.labels, pipeline.checkpoint)
    asked, details = conditions, {"places": options.place} if places else {}
    if options.also or options.without:
        all_of, none_of = composition(options, conditions[0], denoiser.labels)
        asked = denoiser.compose(all_of, none_of).repeat(len(conditions), 1, 1)
        conditions = [tuple(dict.fromkeys(label for condition in all_of for label in condition))] * len(conditions)
        name, details = "composed", {"and": all_of, "not": none_of}
    if denoiser.labels == OBJECTS and max(map(len, conditions)) > MOST_OBJECTS and this_process().is_main_process:
        print(f"more than {MOST_OBJECTS} objects: no training image shows so many, so some may be missing")
    folder = GeneratedFolder(options.out or Path("generated") / name)

    seeds = image_seeds(options.seed, len(conditions))
    recorder = DenoisingRecorder(denoiser) if options.progress else None
    if places:
        generated = generate_placed(pipeline, [places] * len(seeds), seeds, progress="sampling", on_state=recorder)
    else:
        generated = generate(pipeline, asked, seeds, progress="sampling", on_state=recorder)

    if this_process().is_main_process:
        print(folder.write(generated, conditions, pipeline, name, recorder, details))


def check_options(options: Namespace) -> None:
    """Raise `UserError` for options that cannot be combined, before anything is loaded."""
    check_at_least("seed", options.seed, 0)
    if options.num_images is not None:
        check_at_least("num-images", options.num_images, 1)
        if options.split is not None:
            raise UserError("`--num-images` cannot be combined with `--split`, which has one image per condition")
    if (options.also or options.without) and options.objects is None and not options.unconditional:
        raise UserError("`--and` and `--not` need `--objects` or `--unconditional`")


def choose_conditions(
    options: Namespace, labels: Sequence[str], checkpoint: Path | None
) -> tuple[str, list[Condition]]:
    """The name of what is generated, and a condition for each image; empty ones for no condition."""
    split, num_images = options.split, options.num_images
    if options.objects is not None:
        return "objects", [join_condition(options.objects, labels)] * (num_images or 1)
    if split is None and num_images is None and not options.unconditional and labels == OBJECTS:
        split = "test"
    if split is not None:
        if not labels:
            raise UserError(f"`split` needs a model with labels, but {checkpoint} is unconditional")
        if split in SPLITS and labels != OBJECTS:
            raise UserError(f"`split` {split!r} is for i-CLEVR, but {checkpoint} was not trained on its objects")
        return Path(split).stem, load_conditions(resolve_split(split, options.root), labels)
    if options.unconditional or not labels:
        return "unconditional", [()] * (num_images or DEFAULT_IMAGES)
    return "labels", every_label(labels, num_images or DEFAULT_IMAGES)


def composition(
    options: Namespace, condition: Condition, labels: Sequence[str]
) -> tuple[list[Condition], list[Condition]]:
    """The conditions that must hold together, with `condition`, and those that must not hold."""
    also, none_of = (
        [parse_condition(text, labels) for text in texts or ()] for texts in (options.also, options.without)
    )
    return [each for each in (condition, *also) if each], none_of


if __name__ == "__main__":
    sys.exit(run(main))
