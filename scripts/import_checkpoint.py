"""Convert the state dict of a plain UNet2DModel into a pipeline."""

import sys
from pathlib import Path

from lab_ddpm.arguments import Parser
from lab_ddpm.cli import load_torch, run
from lab_ddpm.tools.errors import DataError, renaming
from lab_ddpm.tools.files import read_json


def parser() -> Parser:
    parser = Parser("import-checkpoint", __doc__)
    parser.add_argument("path", type=Path, help=".pth, .pt, .bin or .safetensors with class_embedding.* keys")
    parser.add_argument("--out", type=Path, required=True, help="folder of the pipeline, e.g. runs/report/best")
    parser.add_argument("--config", type=Path, help="arguments of the UNet2DModel, as in the config.json of diffusers")
    schedule = "noise schedule that it was trained with (default: squaredcos_cap_v2)"
    parser.add_argument("--beta-schedule", default="squaredcos_cap_v2", help=schedule)
    prediction = "what the network predicts: epsilon, sample or v_prediction (default: epsilon)"
    parser.add_argument("--prediction-type", default="epsilon", help=prediction)
    return parser


def main(arguments: list[str]) -> None:
    options = parser().parse_args(arguments)
    settings = {} if options.config is None else read_json(options.config)
    if not isinstance(settings, dict):
        raise DataError(f"{options.config}: must be a JSON object of arguments, got {settings!r}")
    load_torch(f"reading {options.path}")

    from lab_ddpm.iclevr.official.import_checkpoint import NOT_IN_WEIGHTS, import_checkpoint

    names = {
        "settings": f"{options.config}",
        "beta_schedule": "--beta-schedule",
        "prediction_type": "--prediction-type",
    }
    with renaming(names):
        out = import_checkpoint(options.path, options.out, settings, options.beta_schedule, options.prediction_type)
    if assumed := [f"{name} {value}" for name, value in NOT_IN_WEIGHTS.items() if name not in settings]:
        print(f"The weights do not show these settings, so they are assumed: {', '.join(assumed)}. --config sets them.")
    print(f"wrote the pipeline {out}")


if __name__ == "__main__":
    sys.exit(run(main))
