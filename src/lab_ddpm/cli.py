"""The command line: `lab-ddpm COMMAND ...`, which the files of scripts/ call too.

Each command is a module of `commands`, whose `run` gets the parsed arguments and prints what was written where. What a
user got wrong is one line on stderr and exit code 2 (usage) or 1 (data, disk); a traceback means a bug.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Any, NoReturn

from lab_ddpm.commands.parser import build_parser
from lab_ddpm.errors import UserError
from lab_ddpm.interruption import Interrupted


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line; returns the exit code."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    try:
        if arguments[:1] == ["train"]:
            return _run("train", arguments=arguments[1:])
        return _run(**vars(build_parser().parse_args(arguments)))
    except UserError as error:
        print(f"lab-ddpm: {error}", file=sys.stderr)
        return error.exit_code
    except OSError as error:
        print(f"lab-ddpm: {error}", file=sys.stderr)
        return 1
    except Interrupted as stop:
        if os.environ.get("RANK", "0") == "0":  # one line for all processes of a launch
            print(f"lab-ddpm: {stop}", file=sys.stderr)
        return 128 + stop.signal_number
    except KeyboardInterrupt:
        print("lab-ddpm: stopped", file=sys.stderr)
        return 130


def _run(command: str, **options: Any) -> int:
    module = import_module(
        f"lab_ddpm.commands.{command.replace('-', '_')}"
    )  # only now: --help shall not wait for torch
    return module.run(**options)


def entry_point() -> NoReturn:
    """The installed program `lab-ddpm`."""
    sys.exit(main())
