"""Convert the state dict of a plain UNet2DModel into a pipeline."""

import sys
from pathlib import Path

from lab_ddpm.arguments import Parser
from lab_ddpm.cli import load_torch, run


def parser() -> Parser:
    parser = Parser("import-checkpoint", __doc__)
    parser.add_argument("path", type=Path, help=".pth, .pt, .bin or .safetensors with class_embedding.* keys")
    parser.add_argument("--out", type=Path, required=True, help="folder of the pipeline, e.g. runs/report/best")
    parser.add_argument("--image-size", type=int, default=64, help="size of its images in pixels (default: 64)")
    parser.add_argument("--attention-head-dim", type=int, default=8, help="default: 8, as in diffusers")
    schedule = "noise schedule that it was trained with (default: squaredcos_cap_v2)"
    parser.add_argument("--beta-schedule", default="squaredcos_cap_v2", help=schedule)
    prediction = "what the network predicts: epsilon, sample or v_prediction (default: epsilon)"
    parser.add_argument("--prediction-type", default="epsilon", help=prediction)
    return parser


def main(arguments: list[str]) -> None:
    options = parser().parse_args(arguments)
    load_torch(f"reading {options.path}")

    from lab_ddpm.iclevr.official.import_checkpoint import import_checkpoint

    out = import_checkpoint(
        options.path,
        options.out,
        options.image_size,
        options.attention_head_dim,
        options.beta_schedule,
        options.prediction_type,
    )
    print(f"wrote the pipeline {out}")


if __name__ == "__main__":
    sys.exit(run(main))
