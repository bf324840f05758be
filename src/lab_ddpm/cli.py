"""The command line: `lab-ddpm COMMAND ...`, which the files of scripts/ call too.

Each command parses its arguments, calls one function and prints what was written where. What a user got wrong is
one line on stderr and exit code 2 (usage) or 1 (data, disk); a traceback means a bug. Modules are imported where they
are called: `--help` shall not wait for torch.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from lab_ddpm.errors import UserError
from lab_ddpm.parser import build_parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line; returns the exit code."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    try:
        if arguments[:1] == ["train"]:
            return _train(arguments[1:])
        options = vars(build_parser().parse_args(arguments))
        return _COMMANDS[options.pop("command")](**options)
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


def _render(**options: Any) -> int:
    from lab_ddpm.train_commands import render_command

    return render_command(**options)


def _train_evaluator(**options: Any) -> int:
    from lab_ddpm.train_commands import train_evaluator_command

    return train_evaluator_command(**options)


def _generate(**options: Any) -> int:
    from lab_ddpm.sample_commands import generate_command

    return generate_command(**options)


def _interpolate(**options: Any) -> int:
    from lab_ddpm.sample_commands import interpolate_command

    return interpolate_command(**options)


def _evaluate(**options: Any) -> int:
    from lab_ddpm.score_commands import evaluate_command

    return evaluate_command(**options)


def _evaluate_distribution(**options: Any) -> int:
    from lab_ddpm.distribution_commands import evaluate_distribution_command

    return evaluate_distribution_command(**options)


def _ablate(**options: Any) -> int:
    from lab_ddpm.study_commands import ablate_command

    return ablate_command(**options)


def _study_interpolation(**options: Any) -> int:
    from lab_ddpm.study_commands import study_interpolation_command

    return study_interpolation_command(**options)


def _benchmark(**options: Any) -> int:
    from lab_ddpm.study_commands import benchmark_command

    return benchmark_command(**options)


def _check_replica(**options: Any) -> int:
    from lab_ddpm.study_commands import check_replica_command

    return check_replica_command(**options)


def _import_data(**options: Any) -> int:
    from lab_ddpm.file_commands import import_data_command

    return import_data_command(**options)


def _import_checkpoint(**options: Any) -> int:
    from lab_ddpm.file_commands import import_checkpoint_command

    return import_checkpoint_command(**options)


def _report(**options: Any) -> int:
    from lab_ddpm.file_commands import report_command

    return report_command(**options)


_COMMANDS: dict[str, Callable[..., int]] = {
    "render": _render,
    "train-evaluator": _train_evaluator,
    "generate": _generate,
    "interpolate": _interpolate,
    "evaluate": _evaluate,
    "evaluate-distribution": _evaluate_distribution,
    "ablate": _ablate,
    "study-interpolation": _study_interpolation,
    "benchmark": _benchmark,
    "check-replica": _check_replica,
    "import-data": _import_data,
    "import-checkpoint": _import_checkpoint,
    "report": _report,
}


def entry_point() -> NoReturn:
    """The installed program `lab-ddpm`."""
    sys.exit(main())
