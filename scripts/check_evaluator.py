"""`lab-ddpm check-evaluator`: see `python scripts/check_evaluator.py --help`."""

import sys

from lab_ddpm.cli import main

if __name__ == "__main__":
    sys.exit(main(["check-evaluator", *sys.argv[1:]]))
