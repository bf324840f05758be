"""The arguments of every command but `train`, whose are those of `config_parser`."""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from lab_ddpm.errors import UserError, did_you_mean

DATA = Path("data/iclevr")


class _Parser(argparse.ArgumentParser):
    """Errors as one line that names the command, without the usage text around it."""

    def parse_known_args(
        self, args: Sequence[str] | None = None, namespace: Any = None
    ) -> tuple[argparse.Namespace, list[str]]:
        """Refuse unknown options here, where it is known of which command they are."""
        found, unknown = super().parse_known_args(args, namespace)
        if unknown:
            hint = did_you_mean(unknown[0].split("=")[0], self._option_string_actions)
            self.error(f"{hint}unrecognized arguments: {' '.join(unknown)}")
        return found, unknown

    def error(self, message: str) -> NoReturn:
        if found := re.fullmatch(r"argument COMMAND: invalid choice: '(.*?)' \(choose from (.*)\)", message):
            message = did_you_mean(found[1], re.findall(r"[\w-]+", found[2])) + message
        raise UserError(f"{message} (see {self.prog} --help)")


def _add_sampling(parser: argparse.ArgumentParser, scheduler: str = "ddim", steps: int = 50) -> None:
    parser.add_argument(
        "--checkpoint", type=Path, help="pipeline folder; default: newest runs/*/best, else pretrained/"
    )
    samplers = f"ddpm, ddim, dpmpp, unipc, euler or heun (default: {scheduler})"
    parser.add_argument("--scheduler", default=scheduler, help=samplers)
    parser.add_argument("--steps", type=int, default=steps, help=f"denoising steps (default: {steps})")
    parser.add_argument("--guidance-scale", type=float, help="1 is unguided; default: the checkpoint's own")


def build_parser() -> argparse.ArgumentParser:
    """The parser of every command but `train`, which `config_parser.parse_config` parses."""
    parser = _Parser(prog="lab-ddpm", description="Small, label-conditional diffusion models.")
    commands = parser.add_subparsers(required=True, dest="command", metavar="COMMAND", parser_class=_Parser)
    split_help = "test, new_test, val, unseen or a JSON file of conditions"

    def add(name: str, description: str) -> argparse.ArgumentParser:
        return commands.add_parser(name, help=description, description=description, allow_abbrev=False)

    commands.add_parser("train", help="train a model, or go on with it", add_help=False)

    render = add("render", "render the replica of i-CLEVR; started again it goes on")
    render.add_argument("--num-scenes", type=int, default=6003, help="scenes of three pictures (default: 6003)")
    render.add_argument("--workers", type=int, help="processes (default: one per core)")
    render.add_argument("--seed", type=int, default=0, help="default: 0")
    render.add_argument("--out", type=Path, default=DATA, help=f"default: {DATA}")
    render.add_argument(
        "--with-unseen", action="store_true", help="let the combinations of unseen.json occur too (for classifiers)"
    )

    generate = add("generate", "sample pictures from a trained model")
    wanted = generate.add_mutually_exclusive_group()
    wanted.add_argument("--split", help=f"a picture per condition of: {split_help} (default for i-CLEVR: test)")
    wanted.add_argument(
        "--objects", nargs="+", metavar="LABEL", help='a condition: "red cube" "cyan sphere", or with commas'
    )
    wanted.add_argument("--unconditional", action="store_true", help="pictures under no condition at all")
    generate.add_argument(
        "--num-pictures",
        type=int,
        help="so many of --objects (default: 1), --unconditional or else every label alike (default: 64)",
    )
    _add_sampling(generate)
    generate.add_argument("--root", type=Path, default=DATA, help=f"folder of the condition lists (default: {DATA})")
    generate.add_argument("--seed", type=int, default=0, help="default: 0")
    generate.add_argument("--out", type=Path, help="default: generated/NAME, named after what is sampled")
    generate.add_argument("--progress", action="store_true", help="also write the denoising strip and a GIF")

    evaluate = add("evaluate", "sample the condition lists over several seeds and score the pictures")
    evaluate.add_argument(
        "--split", action="append", help=f"{split_help}; may be repeated (default: test and new_test)"
    )
    evaluate.add_argument("--images", type=Path, help="score the numbered PNG files of this folder instead of sampling")
    _add_sampling(evaluate)
    evaluate.set_defaults(scheduler=None, steps=None)  # to tell whether they go with --images
    evaluate.add_argument("--root", type=Path, default=DATA, help=f"folder of the condition lists (default: {DATA})")
    evaluate.add_argument("--num-seeds", type=int, help="seeds 0, 1, ... (default: 4)")
    evaluate.add_argument("--out", type=Path, default=Path("evaluation"), help="default: evaluation")

    interpolate = add("interpolate", "walk from one picture, or one condition, to another one")
    ends = interpolate.add_mutually_exclusive_group(required=True)
    ends.add_argument("--pictures", nargs=2, type=Path, metavar="FILE", help="two picture files")
    ends.add_argument("--conditions", nargs=2, metavar="LABELS", help='e.g. "red cube, gray sphere" "cyan cylinder"')
    _add_sampling(interpolate, "ddpm", 1000)
    interpolate.add_argument("--timestep", type=int, help="of pictures: noise level of the mixture (default: 500)")
    interpolate.add_argument("--count", type=int, default=10, help="pictures on the way (default: 10)")
    interpolate.add_argument("--mixing", help="of pictures: linear or spherical (default: linear)")
    interpolate.add_argument("--noise", help="of pictures: shared, own, fresh or inverted (default: shared)")
    interpolate.add_argument("--seed", type=int, default=0, help="default: 0")
    interpolate.add_argument("--out", type=Path, default=Path("interpolation"), help="default: interpolation")

    distribution = add("evaluate-distribution", "compare generated pictures with real ones as two sets")
    distribution.add_argument("--dataset", required=True, help="mnist, fashion_mnist, cifar10, flowers102 or folder")
    distribution.add_argument("--root", type=Path, required=True, help="its folder")
    distribution.add_argument("--held-out", type=Path, help="for folder: another one, of pictures not trained on")
    distribution.add_argument(
        "--features", help="inception, or a classifier's file (default: evaluator/DATASET.safetensors)"
    )
    _add_sampling(distribution)
    distribution.add_argument("--unconditional", action="store_true", help="sample under no condition at all")
    distribution.add_argument("--num-pictures", type=int, default=5000, help="of each seed (default: 5000)")
    distribution.add_argument("--num-seeds", type=int, default=3, help="seeds 0, 1, ... (default: 3)")
    distribution.add_argument("--out", type=Path, default=Path("distribution"), help="default: distribution")

    ablate = add("ablate", "train settings with the same budget and seeds, and compare them")
    ablate.add_argument("sweep", type=Path, help="a file such as configs/ablations/fashion_mnist.yaml")
    ablate.add_argument("--out", type=Path, help="default: ablations/NAME")

    study = add("study-interpolation", "measure how evenly pictures change along lambda")
    study.add_argument("--dataset", required=True, help="mnist, fashion_mnist, cifar10, flowers102 or folder")
    study.add_argument("--root", type=Path, required=True, help="its folder")
    study.add_argument("--held-out", type=Path, help="for folder: another one, of pictures not trained on")
    study.add_argument("--checkpoint", type=Path, help="pipeline folder; default: newest runs/*/best, else pretrained/")
    study.add_argument("--num-pairs", type=int, default=32, help="pairs of held-out pictures (default: 32)")
    study.add_argument("--out", type=Path, default=Path("interpolation"), help="default: interpolation")

    evaluator = add("train-evaluator", "train the classifiers that score the pictures")
    evaluator.add_argument("--dataset", default="iclevr", help="iclevr, or another one with labels (default: iclevr)")
    evaluator.add_argument(
        "--root", type=Path, nargs="+", default=[DATA], help=f"folders of training pictures (default: {DATA})"
    )
    evaluator.add_argument(
        "--held-out", type=Path, help="folder of pictures to measure on; default for iclevr: 5 %% of the scenes"
    )
    evaluator.add_argument("--names", nargs="+", help="for iclevr: resnet18, referee (default: both)")
    evaluator.add_argument(
        "--image-size", type=int, help="for other data sets, in pixels (default: as in their presets)"
    )
    evaluator.add_argument("--epochs", type=int, help="default: per classifier")
    evaluator.add_argument("--seed", type=int, default=0, help="default: 0")
    evaluator.add_argument("--out", type=Path, default=Path("evaluator"), help="default: evaluator")

    importing = add("import-data", "check the official pictures and lists, and put them in place")
    importing.add_argument("path", type=Path, help="folder or zip")
    importing.add_argument("--out", type=Path, default=DATA, help=f"default: {DATA}")
    importing.add_argument("--evaluator", type=Path, default=Path("evaluator"), help="default: evaluator")

    checkpoint = add("import-checkpoint", "turn a plain UNet2DModel state dict into a pipeline")
    checkpoint.add_argument("path", type=Path, help=".pth, .pt, .bin or .safetensors with class_embedding.* keys")
    checkpoint.add_argument("--out", type=Path, required=True, help="folder of the pipeline, e.g. runs/report/best")
    checkpoint.add_argument("--image-size", type=int, default=64, help="of its pictures, in pixels (default: 64)")
    checkpoint.add_argument("--attention-head-dim", type=int, default=8, help="default: 8, which is diffusers' own")
    checkpoint.add_argument(
        "--beta-schedule", default="squaredcos_cap_v2", help="that it was trained with (default: squaredcos_cap_v2)"
    )
    checkpoint.add_argument(
        "--prediction-type",
        default="epsilon",
        help="what it predicts: epsilon, sample or v_prediction (default: epsilon)",
    )

    report = add("report", "write one HTML page about a run")
    report.add_argument("run_folder", type=Path, help="e.g. runs/demo")
    report.add_argument("--out", type=Path, help="default: report.html in the run's folder")

    check = add("check-replica", "measure rendered pictures against the facts about i-CLEVR")
    check.add_argument("--root", type=Path, default=DATA, help=f"default: {DATA}")

    check = add("check-evaluator", "measure the classifiers of i-CLEVR on pictures with known labels")
    check.add_argument("--root", type=Path, default=DATA, help=f"pictures that they never saw (default: {DATA})")

    benchmark = add("benchmark", "measure rendering, reading, training and sampling on this machine")
    presets = [Path("configs/iclevr_cpu.yaml"), Path("configs/iclevr.yaml")]
    benchmark.add_argument("--configs", nargs="+", type=Path, default=presets, help="presets to train a few steps of")
    benchmark.add_argument("--checkpoint", type=Path, help="pipeline to sample from")
    benchmark.add_argument("--steps", type=int, default=10, help="training steps to time per preset (default: 10)")
    return parser
