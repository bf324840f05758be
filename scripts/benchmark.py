"""`lab-ddpm benchmark`: see `python scripts/benchmark.py --help`."""

import sys

from lab_ddpm.cli import main

if __name__ == "__main__":
    sys.exit(main(["benchmark", *sys.argv[1:]]))
