"""What all scripts do: call a command of the package, or say how to install it."""

import sys
from typing import NoReturn


def run(command: str) -> NoReturn:
    """Run `lab-ddpm COMMAND` with the arguments of this script."""
    try:
        from lab_ddpm.cli import main
    except ModuleNotFoundError as error:
        sys.exit(f"no module {error.name!r} in {sys.executable}: `make install`, then `source .venv/bin/activate`")
    sys.exit(main([command, *sys.argv[1:]]))
