"""Render the replica of i-CLEVR, with its condition lists; run it again to resume."""

import sys
from pathlib import Path

from lab_ddpm.arguments import Parser, refuse
from lab_ddpm.cli import run
from lab_ddpm.data.iclevr import MOST_OBJECTS, NUM_SCENES, OBJECTS, ROOT, resolve_split
from lab_ddpm.tools.errors import UserError, check_at_least
from lab_ddpm.tools.parts import WHOLE, parse_part
from lab_ddpm.tools.worker_pool import available_cores


def parser() -> Parser:
    parser = Parser("render", __doc__)
    scenes = f"scenes, with three images each (default: {NUM_SCENES})"
    parser.add_argument("--num-scenes", type=int, default=NUM_SCENES, help=scenes)
    parser.add_argument("--workers", type=int, help="processes (default: one per core)")
    parser.add_argument("--seed", type=int, default=0, help="default: 0")
    parser.add_argument("--out", type=Path, default=ROOT, help=f"default: {ROOT}")
    with_unseen = "also render the combinations of unseen.json, for training classifiers"
    parser.add_argument("--with-unseen", action="store_true", default=None, help=with_unseen)
    for_counter = "one image per scene, of one to six objects, often several of a kind: to train the counter"
    parser.add_argument("--for-counter", action="store_true", help=for_counter)
    one_part = "render part K of N, on one of several machines; at the end run it without --part"
    parser.add_argument("--part", type=parse_part, default=WHOLE, metavar="K/N", help=one_part)
    return parser


def main(arguments: list[str]) -> None:
    options = parser().parse_args(arguments)
    workers = available_cores() if options.workers is None else options.workers
    check_at_least("num-scenes", options.num_scenes, options.part.count)
    check_at_least("seed", options.seed, 0)
    check_at_least("workers", workers, 1)

    if options.for_counter:
        from lab_ddpm.iclevr.replica.counting import render_for_counting

        refuse(options, "--for-counter", "with_unseen")
        if any((options.out / name).exists() for name in ("train.json", "replica.json")):
            raise UserError(f"{options.out} holds images of i-CLEVR: choose another `--out` for those of the counter")
        num_rendered = render_for_counting(options.out, options.num_scenes, options.seed, workers, options.part)
        images_per_scene, labels = 1, "places.json"
    else:
        from lab_ddpm.data.conditions import load_conditions
        from lab_ddpm.iclevr.condition_lists import write_condition_lists
        from lab_ddpm.iclevr.replica.replica import render_replica

        write_condition_lists(options.out)
        forbidden = [] if options.with_unseen else load_conditions(resolve_split("unseen", options.out), OBJECTS)
        num_rendered = render_replica(options.out, options.num_scenes, options.seed, workers, forbidden, options.part)
        images_per_scene, labels = MOST_OBJECTS, "train.json"
    num_images = images_per_scene * len(options.part.of(range(options.num_scenes)))
    also = f" and {labels}" if options.part == WHOLE else ""
    print(f"wrote {num_images} images ({num_rendered} of them now){also} to {options.out}/")
    if options.part != WHOLE:
        print(f"when all parts are done, run the same command without --part: it writes {labels}")


if __name__ == "__main__":
    sys.exit(run(main))
