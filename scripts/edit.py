"""Add, remove, replace or move one object in an image; only its surroundings are drawn anew."""

import sys
from pathlib import Path
from typing import Any

from lab_ddpm.arguments import Parser, add_checkpoint, add_sampling, sampling_options
from lab_ddpm.cli import load_torch, run
from lab_ddpm.data.conditions import join_condition
from lab_ddpm.data.names import clean_label
from lab_ddpm.tools.errors import check_at_least
from lab_ddpm.tools.files import check_writable

_SAMPLING: dict[str, Any] = {"scheduler": "dpmpp_sde", "steps": 16}  # fewer steps leave a ghost of what was removed


def parser() -> Parser:
    parser = Parser("edit", __doc__)
    parser.add_argument("image", type=Path, help="image file")
    shown = 'the objects that the image shows: "red cube" "cyan sphere", or separated by commas'
    parser.add_argument("--objects", nargs="+", action="extend", required=True, metavar="LABEL", help=shown)
    change = parser.add_mutually_exclusive_group(required=True)
    change.add_argument("--add", metavar="LABEL@X,Y", help='e.g. "blue cube@20,30"; X,Y is its center')
    change.add_argument("--remove", metavar="LABEL", help='e.g. "red cube"')
    change.add_argument("--replace", nargs=2, metavar=("LABEL", "NEW_LABEL"), help='e.g. "red cube" "green cube"')
    change.add_argument("--move", metavar="LABEL@X,Y", help='e.g. "red cube@20,30": its new center')
    add_checkpoint(parser)
    add_sampling(parser, **_SAMPLING)
    parser.add_argument("--seed", type=int, default=0, help="default: 0")
    parser.add_argument("--out", type=Path, default=Path("edited"), help="default: edited")
    return parser


def main(arguments: list[str]) -> None:
    options = parser().parse_args(arguments)
    check_at_least("seed", options.seed, 0)
    check_writable(options.out)
    load_torch("editing an image")
    import numpy as np

    from lab_ddpm.data.images import write_png
    from lab_ddpm.drawing.figures import labelled_grid
    from lab_ddpm.generation.checkpoint import open_pipeline
    from lab_ddpm.generation.editing import add_object, move_object, remove_object, replace_object
    from lab_ddpm.generation.generate import open_image
    from lab_ddpm.generation.placing import parse_place

    pipeline = open_pipeline(options.checkpoint, **(_SAMPLING | sampling_options(options)))
    condition = join_condition(options.objects, pipeline.denoiser.labels)
    image = open_image(pipeline, options.image)
    if options.add is not None:
        edited = add_object(pipeline, image, condition, parse_place(options.add), options.seed)
    elif options.move is not None:
        edited = move_object(pipeline, image, condition, parse_place(options.move), options.seed)
    elif options.remove is not None:
        edited = remove_object(pipeline, image, condition, clean_label(options.remove), options.seed)
    else:
        label, new_label = map(clean_label, options.replace)
        edited = replace_object(pipeline, image, condition, label, new_label, options.seed)
    write_png(options.out / "edited.png", edited.image)
    captions = [", ".join(condition), ", ".join(edited.condition)]
    write_png(options.out / "before_after.png", labelled_grid(np.stack([image, edited.image]), captions, 2))
    print(f"wrote edited.png and before_after.png to {options.out}/")


if __name__ == "__main__":
    sys.exit(run(main))
