"""The command line: `lab-ddpm COMMAND ...`, which the files of scripts/ call too.

Each command parses its arguments, calls one function and prints what was written where. What a user got wrong is
one line on stderr and exit code 2 (usage) or 1 (data, disk); a traceback means a bug.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

from lab_ddpm.errors import UserError

DATA = Path("data/iclevr")


class _Parser(argparse.ArgumentParser):
    """Errors as one line, without the usage text around it."""

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message} (see {self.prog} --help)")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line; returns the exit code."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    try:
        if arguments[:1] == ["train"]:
            return _train(arguments[1:])
        options = build_parser().parse_args(arguments)
        return options.run(options)
    except UserError as error:
        print(f"lab-ddpm: {error}", file=sys.stderr)
        return error.exit_code
    except OSError as error:
        print(f"lab-ddpm: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("lab-ddpm: stopped", file=sys.stderr)
        return 130


def _train(arguments: Sequence[str]) -> int:
    from lab_ddpm.commands import train_command
    from lab_ddpm.config import parse_config

    return train_command(parse_config(arguments))


def _render(options: argparse.Namespace) -> int:
    from lab_ddpm.commands import render_command

    return render_command(options.out, options.num_scenes, options.seed, options.workers, options.with_unseen)


def _generate(options: argparse.Namespace) -> int:
    from lab_ddpm.commands import generate_command

    return generate_command(
        split=options.split,
        objects=options.objects,
        checkpoint=options.checkpoint,
        scheduler=options.scheduler,
        steps=options.steps,
        guidance_scale=options.guidance_scale,
        seed=options.seed,
        out=options.out,
        progress=options.progress,
        root=options.root,
    )


def _evaluate(options: argparse.Namespace) -> int:
    from lab_ddpm.commands import evaluate_command, score_folder_command

    splits = options.split or ["test", "new_test"]
    if options.images is not None:
        if len(splits) != 1 or not options.split:
            raise UserError("`--images` needs the one `--split` that its pictures were made for")
        return score_folder_command(options.images, splits[0], options.out, options.root)
    return evaluate_command(
        splits=splits,
        checkpoint=options.checkpoint,
        scheduler=options.scheduler,
        steps=options.steps,
        guidance_scale=options.guidance_scale,
        num_seeds=options.num_seeds,
        out=options.out,
        root=options.root,
    )


def _train_evaluator(options: argparse.Namespace) -> int:
    from lab_ddpm.evaluator_training import train_evaluators

    paths = train_evaluators(options.root, options.held_out, options.out, options.names, options.epochs, options.seed)
    print("wrote " + ", ".join(f"{path} and {path.with_suffix('.json').name}" for path in paths))
    return 0


def _import_data(options: argparse.Namespace) -> int:
    from lab_ddpm.importing import import_data

    print(import_data(options.path, options.out, options.evaluator))
    return 0


def _import_checkpoint(options: argparse.Namespace) -> int:
    from lab_ddpm.importing_checkpoints import import_checkpoint

    print(f"wrote the pipeline {import_checkpoint(options.path, options.out)}")
    return 0


def _report(options: argparse.Namespace) -> int:
    from lab_ddpm.report import write_report

    out = options.out or options.run_folder / "report.html"
    write_report(options.run_folder, out)
    print(f"wrote the report {out}")
    return 0


def _check_replica(options: argparse.Namespace) -> int:
    from lab_ddpm.replica_check import check_replica

    comparisons = check_replica(options.root)
    print(*comparisons, sep="\n")
    return int(not all(comparison.passes for comparison in comparisons))


def _benchmark(options: argparse.Namespace) -> int:
    from lab_ddpm.benchmark import benchmark
    from lab_ddpm.checkpoint import default_checkpoint

    print(*benchmark(options.configs, options.checkpoint or default_checkpoint(), options.steps), sep="\n")
    return 0


def _add_sampling(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--checkpoint", type=Path, help="pipeline folder; default: newest runs/*/best, else pretrained/"
    )
    parser.add_argument("--scheduler", default="ddim", help="ddpm, ddim, dpmpp, unipc, euler or heun (default: ddim)")
    parser.add_argument("--steps", type=int, default=50, help="denoising steps (default: 50)")
    parser.add_argument("--guidance-scale", type=float, help="1 is unguided; default: the checkpoint's own")
    parser.add_argument("--root", type=Path, default=DATA, help=f"folder of the condition lists (default: {DATA})")


def build_parser() -> argparse.ArgumentParser:
    """The parser of every command but `train`, which `config.parse_config` parses."""
    parser = _Parser(prog="lab-ddpm", description="Small, label-conditional diffusion models.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND", parser_class=_Parser)
    split_help = "test, new_test, val, unseen or a JSON file of conditions"

    def add(name: str, run: Callable[[argparse.Namespace], int], description: str) -> argparse.ArgumentParser:
        command = commands.add_parser(name, help=description, description=description, allow_abbrev=False)
        command.set_defaults(run=run)
        return command

    commands.add_parser("train", help="train a model, or go on with it", add_help=False)

    render = add("render", _render, "render the replica of i-CLEVR; started again it goes on")
    render.add_argument("--num-scenes", type=int, default=6003, help="scenes of three pictures (default: 6003)")
    render.add_argument("--workers", type=int, help="processes (default: one per core)")
    render.add_argument("--seed", type=int, default=0, help="default: 0")
    render.add_argument("--out", type=Path, default=DATA, help=f"default: {DATA}")
    render.add_argument(
        "--with-unseen", action="store_true", help="let the combinations of unseen.json occur too (for classifiers)"
    )

    generate = add("generate", _generate, "sample one picture per condition")
    conditions = generate.add_mutually_exclusive_group()
    conditions.add_argument("--split", default="test", help=f"{split_help} (default: test)")
    conditions.add_argument("--objects", nargs="+", metavar="OBJECT", help='a condition, e.g. "red cube" "cyan sphere"')
    _add_sampling(generate)
    generate.add_argument("--seed", type=int, default=0, help="default: 0")
    generate.add_argument("--out", type=Path, help="default: generated/SPLIT")
    generate.add_argument("--progress", action="store_true", help="also write the denoising strip and a GIF")

    evaluate = add("evaluate", _evaluate, "sample the condition lists over several seeds and score the pictures")
    evaluate.add_argument(
        "--split", action="append", help=f"{split_help}; may be repeated (default: test and new_test)"
    )
    evaluate.add_argument("--images", type=Path, help="score the numbered PNG files of this folder instead of sampling")
    _add_sampling(evaluate)
    evaluate.add_argument("--num-seeds", type=int, default=4, help="seeds 0, 1, ... (default: 4)")
    evaluate.add_argument("--out", type=Path, default=Path("evaluation"), help="default: evaluation")

    evaluator = add("train-evaluator", _train_evaluator, "train the classifiers that score the pictures")
    evaluator.add_argument(
        "--root", type=Path, nargs="+", default=[DATA], help=f"folders of training pictures (default: {DATA})"
    )
    evaluator.add_argument(
        "--held-out", type=Path, help="folder of pictures to measure on; default: 5 %% of the scenes"
    )
    evaluator.add_argument("--names", nargs="+", default=["resnet18", "referee"], help="default: resnet18 referee")
    evaluator.add_argument("--epochs", type=int, help="default: per classifier")
    evaluator.add_argument("--seed", type=int, default=0, help="default: 0")
    evaluator.add_argument("--out", type=Path, default=Path("evaluator"), help="default: evaluator")

    importing = add("import-data", _import_data, "check the official pictures and lists, and put them in place")
    importing.add_argument("path", type=Path, help="folder or zip")
    importing.add_argument("--out", type=Path, default=DATA, help=f"default: {DATA}")
    importing.add_argument("--evaluator", type=Path, default=Path("evaluator"), help="default: evaluator")

    checkpoint = add("import-checkpoint", _import_checkpoint, "turn a plain UNet2DModel state dict into a pipeline")
    checkpoint.add_argument("path", type=Path, help=".pth, .pt, .bin or .safetensors with class_embedding.* keys")
    checkpoint.add_argument("--out", type=Path, required=True, help="folder of the pipeline, e.g. runs/report/best")

    report = add("report", _report, "write one HTML page about a run")
    report.add_argument("run_folder", type=Path, help="e.g. runs/demo")
    report.add_argument("--out", type=Path, help="default: report.html in the run's folder")

    check = add("check-replica", _check_replica, "measure rendered pictures against the facts about i-CLEVR")
    check.add_argument("--root", type=Path, default=DATA, help=f"default: {DATA}")

    benchmark = add("benchmark", _benchmark, "measure rendering, reading, training and sampling on this machine")
    presets = [Path("configs/iclevr_cpu.yaml"), Path("configs/iclevr.yaml")]
    benchmark.add_argument("--configs", nargs="+", type=Path, default=presets, help="presets to train a few steps of")
    benchmark.add_argument("--checkpoint", type=Path, help="pipeline to sample from")
    benchmark.add_argument("--steps", type=int, default=10, help="training steps to time per preset (default: 10)")
    return parser


def entry_point() -> NoReturn:
    """The installed program `lab-ddpm`."""
    sys.exit(main())
