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
    from lab_ddpm.config import parse_config
    from lab_ddpm.train_commands import train_command

    return train_command(parse_config(arguments))


def _render(options: argparse.Namespace) -> int:
    from lab_ddpm.train_commands import render_command

    return render_command(options.out, options.num_scenes, options.seed, options.workers, options.with_unseen)


def _generate(options: argparse.Namespace) -> int:
    from lab_ddpm.sample_commands import generate_command

    return generate_command(
        split=options.split,
        objects=options.objects,
        num_pictures=options.num_pictures,
        unconditional=options.unconditional,
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
    from lab_ddpm.score_commands import evaluate_command, score_folder_command

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


def _interpolate(options: argparse.Namespace) -> int:
    from lab_ddpm.sample_commands import interpolate_command

    return interpolate_command(
        pictures=options.pictures,
        conditions=options.conditions,
        checkpoint=options.checkpoint,
        scheduler=options.scheduler,
        steps=options.steps,
        guidance_scale=options.guidance_scale,
        timestep=options.timestep,
        count=options.count,
        mixing=options.mixing,
        noise=options.noise,
        seed=options.seed,
        out=options.out,
    )


def _evaluate_distribution(options: argparse.Namespace) -> int:
    from lab_ddpm.distribution_commands import evaluate_distribution_command

    return evaluate_distribution_command(
        dataset=options.dataset,
        root=options.root,
        held_out=options.held_out,
        features=options.features,
        checkpoint=options.checkpoint,
        scheduler=options.scheduler,
        steps=options.steps,
        guidance_scale=options.guidance_scale,
        unconditional=options.unconditional,
        num_pictures=options.num_pictures,
        num_seeds=options.num_seeds,
        out=options.out,
    )


def _ablate(options: argparse.Namespace) -> int:
    from lab_ddpm.ablation import read_sweep, run_sweep

    sweep = read_sweep(options.sweep)
    table = run_sweep(sweep, options.out or Path("ablations") / sweep.name)
    print(table.read_text(encoding="utf-8") + f"wrote {table} and figure.png beside it")
    return 0


def _study_interpolation(options: argparse.Namespace) -> int:
    from lab_ddpm.interpolation_study import study_interpolation

    table = study_interpolation(
        dataset=options.dataset,
        root=options.root,
        held_out=options.held_out,
        checkpoint=options.checkpoint,
        num_pairs=options.num_pairs,
        out=options.out,
    )
    print(table.read_text(encoding="utf-8") + f"wrote {table} and its figures beside it")
    return 0


def _train_evaluator(options: argparse.Namespace) -> int:
    from lab_ddpm.train_commands import train_evaluator_command

    return train_evaluator_command(
        dataset=options.dataset,
        roots=options.root,
        held_out=options.held_out,
        out=options.out,
        names=options.names,
        epochs=options.epochs,
        seed=options.seed,
    )


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


def _add_sampling(parser: argparse.ArgumentParser, scheduler: str = "ddim", steps: int = 50) -> None:
    parser.add_argument(
        "--checkpoint", type=Path, help="pipeline folder; default: newest runs/*/best, else pretrained/"
    )
    samplers = f"ddpm, ddim, dpmpp, unipc, euler or heun (default: {scheduler})"
    parser.add_argument("--scheduler", default=scheduler, help=samplers)
    parser.add_argument("--steps", type=int, default=steps, help=f"denoising steps (default: {steps})")
    parser.add_argument("--guidance-scale", type=float, help="1 is unguided; default: the checkpoint's own")


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

    generate = add("generate", _generate, "sample pictures from a trained model")
    wanted = generate.add_mutually_exclusive_group()
    wanted.add_argument("--split", help=f"a picture per condition of: {split_help} (default for i-CLEVR: test)")
    wanted.add_argument("--objects", nargs="+", metavar="LABEL", help='a condition, e.g. "red cube" "cyan sphere"')
    wanted.add_argument("--unconditional", action="store_true", help="pictures under no condition at all")
    generate.add_argument(
        "--num-pictures", type=int, help="without --split and --objects: so many, of every label in turn (default: 64)"
    )
    _add_sampling(generate)
    generate.add_argument("--root", type=Path, default=DATA, help=f"folder of the condition lists (default: {DATA})")
    generate.add_argument("--seed", type=int, default=0, help="default: 0")
    generate.add_argument("--out", type=Path, help="default: generated/NAME, named after what is sampled")
    generate.add_argument("--progress", action="store_true", help="also write the denoising strip and a GIF")

    evaluate = add("evaluate", _evaluate, "sample the condition lists over several seeds and score the pictures")
    evaluate.add_argument(
        "--split", action="append", help=f"{split_help}; may be repeated (default: test and new_test)"
    )
    evaluate.add_argument("--images", type=Path, help="score the numbered PNG files of this folder instead of sampling")
    _add_sampling(evaluate)
    evaluate.add_argument("--root", type=Path, default=DATA, help=f"folder of the condition lists (default: {DATA})")
    evaluate.add_argument("--num-seeds", type=int, default=4, help="seeds 0, 1, ... (default: 4)")
    evaluate.add_argument("--out", type=Path, default=Path("evaluation"), help="default: evaluation")

    interpolate = add("interpolate", _interpolate, "walk from one picture, or one condition, to another one")
    ends = interpolate.add_mutually_exclusive_group(required=True)
    ends.add_argument("--pictures", nargs=2, type=Path, metavar="FILE", help="two picture files")
    ends.add_argument("--conditions", nargs=2, metavar="LABELS", help='e.g. "red cube, gray sphere" "cyan cylinder"')
    _add_sampling(interpolate, "ddpm", 1000)
    interpolate.add_argument("--timestep", type=int, default=500, help="noise level of the mixture (default: 500)")
    interpolate.add_argument("--count", type=int, default=10, help="pictures on the way (default: 10)")
    interpolate.add_argument("--mixing", default="linear", help="linear or spherical (default: linear)")
    interpolate.add_argument("--noise", default="shared", help="shared, fresh or inverted (default: shared)")
    interpolate.add_argument("--seed", type=int, default=0, help="default: 0")
    interpolate.add_argument("--out", type=Path, default=Path("interpolation"), help="default: interpolation")

    distribution = add(
        "evaluate-distribution", _evaluate_distribution, "compare generated pictures with real ones as two sets"
    )
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
    distribution.add_argument("--out", type=Path, default=Path("evaluation"), help="default: evaluation")

    ablate = add("ablate", _ablate, "train settings with the same budget and seeds, and compare them")
    ablate.add_argument("sweep", type=Path, help="a file such as configs/ablations/fashion_mnist.yaml")
    ablate.add_argument("--out", type=Path, help="default: ablations/NAME")

    study = add("study-interpolation", _study_interpolation, "measure how evenly pictures change along lambda")
    study.add_argument("--dataset", required=True, help="mnist, fashion_mnist, cifar10, flowers102 or folder")
    study.add_argument("--root", type=Path, required=True, help="its folder")
    study.add_argument("--held-out", type=Path, help="for folder: another one, of pictures not trained on")
    study.add_argument("--checkpoint", type=Path, help="pipeline folder; default: newest runs/*/best, else pretrained/")
    study.add_argument("--num-pairs", type=int, default=32, help="pairs of held-out pictures (default: 32)")
    study.add_argument("--out", type=Path, default=Path("interpolation"), help="default: interpolation")

    evaluator = add("train-evaluator", _train_evaluator, "train the classifiers that score the pictures")
    evaluator.add_argument("--dataset", default="iclevr", help="iclevr, or another one with labels (default: iclevr)")
    evaluator.add_argument(
        "--root", type=Path, nargs="+", default=[DATA], help=f"folders of training pictures (default: {DATA})"
    )
    evaluator.add_argument(
        "--held-out", type=Path, help="folder of pictures to measure on; default for iclevr: 5 %% of the scenes"
    )
    evaluator.add_argument("--names", nargs="+", default=["resnet18", "referee"], help="for iclevr (default: both)")
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
