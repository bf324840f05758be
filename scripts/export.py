"""Write a pipeline as a folder for the Hugging Face Hub, or its network for ONNX Runtime or PyTorch."""

import sys
from pathlib import Path

from lab_ddpm.arguments import Parser, add_checkpoint
from lab_ddpm.cli import load_torch, run
from lab_ddpm.tools.errors import UserError


def parser() -> Parser:
    parser = Parser("export", __doc__)
    kinds = (
        "hub: a new folder that loads without lab_ddpm; "
        "onnx: denoiser.onnx in the checkpoint's folder, which sampling on a CPU then uses; "
        "torch: denoiser.pt2 in the same folder, for programs without lab_ddpm"
    )
    parser.add_argument("kind", choices=("hub", "onnx", "torch"), help=kinds)
    add_checkpoint(parser)
    parser.add_argument("--out", type=Path, help="for hub: the new folder (default: hub)")
    parser.add_argument("--name", help="for hub: USER/NAME on the Hub, for the model card (default: OUT)")
    parser.add_argument(
        "--license", help="for hub: a license for the model card, such as mit (default: the checkpoint's)"
    )
    return parser


def main(arguments: list[str]) -> None:
    options = parser().parse_args(arguments)
    if options.kind != "hub" and (options.out or options.name or options.license):
        raise UserError(
            "`--out`, `--name` and `--license` are for `export hub`; the other files go into the checkpoint's folder"
        )
    load_torch("exporting")
    from lab_ddpm.generation.checkpoint import find_checkpoint, load_pipeline

    checkpoint = find_checkpoint(options.checkpoint)
    if options.kind == "hub":
        from lab_ddpm.export.hub import export_hub

        out = options.out or Path("hub")
        export_hub(checkpoint, out, options.name, options.license)
        print(f"wrote {out}; upload it to the Hub with `hf upload {options.name or 'USER/NAME'} {out}`")
        return
    from lab_ddpm.export.programs import export_onnx, export_torch

    export = {"onnx": export_onnx, "torch": export_torch}[options.kind]
    file = export(load_pipeline(checkpoint).denoiser, checkpoint)
    print(f"wrote {file} ({file.stat().st_size / 2**20:.0f} MiB)")


if __name__ == "__main__":
    sys.exit(run(main))
