"""`lab-ddpm study-interpolation`: see `python scripts/study_interpolation.py --help`."""

import sys

from lab_ddpm.cli import main

if __name__ == "__main__":
    sys.exit(main(["study-interpolation", *sys.argv[1:]]))
