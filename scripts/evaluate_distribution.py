"""`lab-ddpm evaluate-distribution`: see `python scripts/evaluate_distribution.py --help`."""

import sys

from lab_ddpm.cli import main

if __name__ == "__main__":
    sys.exit(main(["evaluate-distribution", *sys.argv[1:]]))
