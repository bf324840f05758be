"""`lab-ddpm report`: see `python scripts/report.py --help`."""

import sys

from lab_ddpm.cli import main

if __name__ == "__main__":
    sys.exit(main(["report", *sys.argv[1:]]))
