"""Change one image or condition into another in steps, see docs/interpolation.md; write images and distances."""

import sys
from pathlib import Path

from lab_ddpm.arguments import Parser, add_checkpoint, add_sampling, refuse, sampling_options
from lab_ddpm.cli import load_torch, run
from lab_ddpm.data.conditions import parse_condition
from lab_ddpm.tools.errors import UserError, check_at_least
from lab_ddpm.tools.files import check_writable, write_json

OF_IMAGES = {"timestep": None, "mixing": "linear", "noise": "shared"}


def parser() -> Parser:
    parser = Parser("interpolate", __doc__)
    ends = parser.add_mutually_exclusive_group(required=True)
    ends.add_argument("--images", nargs=2, type=Path, metavar="FILE", help="two image files")
    ends.add_argument("--conditions", nargs=2, metavar="LABELS", help='e.g. "red cube, gray sphere" "cyan cylinder"')
    add_checkpoint(parser)
    add_sampling(parser, scheduler="ddpm", steps="all that it was trained with")
    parser.add_argument("--timestep", type=int, help="with --images: noise level of the mixture (default: T / 2)")
    parser.add_argument("--count", type=int, default=10, help="number of images from end to end (default: 10)")
    parser.add_argument("--mixing", help="with --images: linear or spherical (default: linear)")
    parser.add_argument("--noise", help="with --images: shared, own, fresh or inverted (default: shared)")
    parser.add_argument("--seed", type=int, default=0, help="default: 0")
    parser.add_argument("--out", type=Path, default=Path("interpolation"), help="default: interpolation")
    return parser


def main(arguments: list[str]) -> None:
    options = parser().parse_args(arguments)
    check_at_least("seed", options.seed, 0)
    check_writable(options.out)
    asked = {key: value for key in OF_IMAGES if (value := getattr(options, key)) is not None}
    files: list[Path] = options.images or []
    if files:  # which have no condition
        refuse(options, "--images", "guidance_scale")
    elif asked:
        raise UserError("`--timestep`, `--mixing` and `--noise` are for `--images`: conditions start from pure noise")
    load_torch("interpolating")
    import numpy as np

    from lab_ddpm.data.images import Images, to_tensor, write_png
    from lab_ddpm.drawing.figures import interpolation_strip
    from lab_ddpm.generation.checkpoint import open_pipeline
    from lab_ddpm.generation.generate import open_image, sampling_record
    from lab_ddpm.generation.interpolation import interpolate_conditions, interpolate_images

    sampling = sampling_options(options)
    sampling["scheduler"] = options.scheduler or "ddpm"
    pipeline = open_pipeline(options.checkpoint, **sampling)
    if options.steps is None:
        pipeline = pipeline.with_sampling(steps=pipeline.denoiser.config["num_train_timesteps"])
    ends: list[Images] = []
    settings: dict[str, object] = {}
    if options.conditions is not None:
        conditions = [parse_condition(words, pipeline.denoiser.labels) for words in options.conditions]
        captions = [", ".join(condition) for condition in conditions]
        interpolation = interpolate_conditions(pipeline, conditions, options.count, options.seed, progress="denoising")
    else:
        captions = [file.name for file in files]
        ends = [open_image(pipeline, file) for file in files]
        settings = {**OF_IMAGES, **asked}
        interpolation = interpolate_images(
            pipeline,
            to_tensor(np.stack(ends)),
            count=options.count,
            seed=options.seed,
            progress="denoising",
            **settings,  # pyright: ignore[reportArgumentType]
        )
        settings |= {"timestep": interpolation.timestep, "guidance_scale": 1.0}  # under no condition
    write_png(options.out / "strip.png", interpolation_strip(interpolation, ends, captions))
    distances = {"lambdas": interpolation.lambdas.tolist(), "distances": interpolation.distances().tolist()}
    content = {**sampling_record(pipeline), **settings, "ends": captions, "seed": options.seed, **distances}
    write_json(options.out / "interpolation.json", content)
    print(f"wrote strip.png and interpolation.json to {options.out}/")


if __name__ == "__main__":
    sys.exit(run(main))
