"""`lab-ddpm train-evaluator`: see `python scripts/train_evaluator.py --help`."""

import sys

from lab_ddpm.cli import main

if __name__ == "__main__":
    sys.exit(main(["train-evaluator", *sys.argv[1:]]))
