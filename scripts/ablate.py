"""`lab-ddpm ablate`: see `python scripts/ablate.py --help`."""

import sys

from lab_ddpm.cli import main

if __name__ == "__main__":
    sys.exit(main(["ablate", *sys.argv[1:]]))
