"""`lab-ddpm interpolate`: see `python scripts/interpolate.py --help`."""

import sys

from lab_ddpm.cli import main

if __name__ == "__main__":
    sys.exit(main(["interpolate", *sys.argv[1:]]))
