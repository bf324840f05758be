"""The command line: `lab-ddpm COMMAND ...` runs `scripts/COMMAND.py`.

The scripts are the commands: each has a `main(arguments)`. What a user got wrong is one line on stderr and exit code 2
(usage) or 1 (data, disk); a traceback means a bug.
"""

from __future__ import annotations

import ast
import os
import signal
import sys
from collections.abc import Callable, Sequence
from importlib.metadata import version
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import NoReturn

from lab_ddpm.tools.errors import UserError, did_you_mean, first_line
from lab_ddpm.tools.interruption import Interrupted, signal_handlers
from lab_ddpm.tools.shipped import SHIPPED


def commands() -> dict[str, Path]:
    """The scripts by the names of their commands."""
    return {path.stem.replace("_", "-"): path for path in sorted((SHIPPED / "scripts").glob("*.py"))}


def load(command: str) -> ModuleType:
    """The script of a command, as a module.

    Raises:
        UserError: There is none.
    """
    found = commands()
    if command not in found:
        hint = did_you_mean(command, found)
        raise UserError(f"{hint}the command must be one of {list(found)}, got {command!r} (see lab-ddpm --help)")
    spec = spec_from_file_location(f"lab_ddpm_{found[command].stem}", found[command])
    assert spec is not None
    assert spec.loader is not None
    sys.modules[spec.name] = module = module_from_spec(spec)
    # while libraries are loaded a KeyboardInterrupt may come to code that cannot pass it on, and aborts
    with signal_handlers({signal.SIGINT: signal.SIG_DFL}):
        spec.loader.exec_module(module)
    return module


def run(main: Callable[[list[str]], int | None], arguments: Sequence[str] | None = None) -> int:
    """Call the `main` of a script with arguments, by default those of the process; returns the exit code."""
    if "ACCELERATE_MIXED_PRECISION" in os.environ:  # accelerate launch
        from lab_ddpm.tools.hardware import use_all_cores  # late: as below

        use_all_cores()
    try:
        return main(list(sys.argv[1:] if arguments is None else arguments)) or 0
    except UserError as error:
        print(f"lab-ddpm: {error}", file=sys.stderr)
        return error.exit_code
    except OSError as error:
        print(f"lab-ddpm: {error}", file=sys.stderr)
        return 1
    except (MemoryError, RuntimeError) as error:
        if not _is_lack_of_memory(error):
            raise
        print(f"lab-ddpm: out of memory ({first_line(error)})", file=sys.stderr)
        return 1
    except Interrupted as stop:
        if os.environ.get("RANK", "0") == "0":  # one line for all processes of a launch
            print(f"lab-ddpm: {stop}", file=sys.stderr)
        return 128 + stop.signal_number
    except KeyboardInterrupt:
        print("lab-ddpm: stopped", file=sys.stderr)
        return 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line; returns the exit code."""
    command, *rest = list(sys.argv[1:] if arguments is None else arguments) or ["--help"]
    if command in ("-h", "--help"):
        print(_help())
        return 0
    if command == "--version":
        print(f"lab_ddpm {version('lab_ddpm')}")
        return 0
    return run(lambda rest: load(command).main(rest), rest)


def _is_lack_of_memory(error: BaseException) -> bool:
    from accelerate.utils.memory import should_reduce_batch_size  # late: --help shall not wait for torch

    return isinstance(error, MemoryError) or should_reduce_batch_size(error)  # pyright: ignore[reportArgumentType]


def _help() -> str:
    """Of each script the first line of its docstring, without importing it: --help shall not wait for torch."""
    lines = ["usage: lab-ddpm COMMAND ...    (lab-ddpm COMMAND --help, lab-ddpm --version)", ""]
    for command, path in commands().items():
        document = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
        first, _, _ = document.partition("\n")
        lines.append(f"  {command:<22}{first}")
    return "\n".join(lines)


def entry_point() -> NoReturn:
    """The installed program `lab-ddpm`."""
    sys.exit(main())
