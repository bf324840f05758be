"""The command line: `lab-ddpm COMMAND ...` runs `scripts/COMMAND.py`.

Each script has a `main(arguments)`. An error of the user is one line on stderr and exit code 2 (usage) or 1 (data,
disk); a traceback means a bug. Nothing here imports torch, so `--help` answers at once.
"""

from __future__ import annotations

import ast
import os
import re
import signal
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import NoReturn

from lab_ddpm.tools.errors import UserError, did_you_mean, first_line
from lab_ddpm.tools.files import expand_path
from lab_ddpm.tools.interruption import Interrupted, signal_handlers
from lab_ddpm.tools.launched import is_first_process
from lab_ddpm.tools.shipped import SHIPPED

GROUPS = {
    "Main commands": ("train", "generate", "evaluate", "report", "playground", "edit"),
    "Data and classifiers": ("render", "import-data", "train-classifier"),
    "More about a model": ("interpolate", "export", "import-checkpoint"),
}
"""The commands in the order in which `lab-ddpm --help` shows them."""


def commands() -> dict[str, Path]:
    """The scripts by the names of their commands."""
    return {path.stem.replace("_", "-"): path for path in sorted((SHIPPED / "scripts").glob("*.py"))}


def load(command: str) -> ModuleType:
    """The script of a command, as a module.

    Raises:
        UserError: There is no such command.
    """
    found = commands()
    if command not in found:
        hint = did_you_mean(command, found)
        raise UserError(f"{hint}the command must be one of {list(found)}, got {command!r} (see lab-ddpm --help)")
    spec = spec_from_file_location(f"lab_ddpm_{found[command].stem}", found[command])
    assert spec is not None
    assert spec.loader is not None
    sys.modules[spec.name] = module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def run(main: Callable[[list[str]], int | None], arguments: Sequence[str] | None = None) -> int:
    """Call the `main` of a script with arguments, by default those of the process; returns the exit code."""
    if "ACCELERATE_MIXED_PRECISION" in os.environ:  # accelerate launch
        from lab_ddpm.tools.hardware import use_all_cores  # imports torch

        use_all_cores()
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    try:
        return main([_expand(argument) for argument in arguments]) or 0
    except UserError as error:
        print(f"lab-ddpm: {error}", file=sys.stderr)
        return error.exit_code
    except OSError as error:
        print(f"lab-ddpm: {error}", file=sys.stderr)
        return 1
    except (MemoryError, RuntimeError) as error:
        if not (line := _explanation(error)):
            raise
        print(f"lab-ddpm: {line}", file=sys.stderr)
        return 1
    except Interrupted as stop:
        if is_first_process():  # one line for all processes of a launch
            print(f"lab-ddpm: {stop}", file=sys.stderr)
        return 128 + stop.signal_number
    except KeyboardInterrupt:
        print("lab-ddpm: stopped", file=sys.stderr)
        return 130


def load_torch(doing: str) -> None:
    """Say what a command is about to do, then import torch and diffusers, which takes seconds.

    Meanwhile Ctrl-C ends the process: a KeyboardInterrupt in the middle of these imports can abort with a core dump.
    """
    if "diffusers.models.modeling_utils" in sys.modules:
        return
    if is_first_process():
        print(f"{doing}: loading PyTorch ...", file=sys.stderr, flush=True)
    with signal_handlers({signal.SIGINT: signal.SIG_DFL}):
        import_module("diffusers.models.modeling_utils")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line; returns the exit code."""
    command, *rest = list(sys.argv[1:] if arguments is None else arguments) or ["--help"]
    if command in ("-h", "--help"):
        print(_help())
        return 0
    if command == "--version":
        from importlib.metadata import version  # takes a tenth of the time of --help

        print(f"lab_ddpm {version('lab_ddpm')}")
        return 0
    return run(lambda rest: load(command).main(rest), rest)


def _expand(argument: str) -> str:
    """The argument with the home folder for `~`, also in `--option=~/folder`, which no shell expands."""
    option, is_given, value = argument.partition("=")
    if option.startswith("--") and is_given:
        return f"{option}={expand_path(value)}"
    return expand_path(argument)


def _explanation(error: BaseException) -> str | None:
    """One line about a lack of memory, or about processes that lost each other; None for a bug."""
    from accelerate.utils.memory import should_reduce_batch_size  # imports torch
    from torch.distributed import DistError

    if isinstance(error, MemoryError) or should_reduce_batch_size(error):  # pyright: ignore[reportArgumentType]
        return f"out of memory ({first_line(error)})"
    if isinstance(error, DistError) or "/gloo/" in str(error):  # gloo raises a plain RuntimeError
        # "[rank0] Connection closed by peer [10.0.0.2]. And more"
        reason = re.sub(r"^\[\S+] ", "", first_line(error)).partition(". ")[0]
        return (
            f"lost another process of this launch ({reason}): it has ended, or its machine cannot be reached. "
            "Start the same command again on all machines"
        )
    return None


def _help() -> str:
    """The commands in groups, each with the first line of its script's docstring."""
    found = commands()
    lines = ["usage: lab-ddpm COMMAND ...    (lab-ddpm COMMAND --help, lab-ddpm --version)"]
    for group, names in GROUPS.items():
        lines += ["", f"{group}:"]
        for name in names:
            docstring = ast.get_docstring(ast.parse(found[name].read_text(encoding="utf-8"))) or ""
            lines.append(f"  {name:<20}{docstring.partition(chr(10))[0]}")
    return "\n".join(lines)


def entry_point() -> NoReturn:
    """The installed program `lab-ddpm`."""
    sys.exit(main())
