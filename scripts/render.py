"""`lab-ddpm render`: see `python scripts/render.py --help`."""

import sys

from lab_ddpm.cli import main

if __name__ == "__main__":
    sys.exit(main(["render", *sys.argv[1:]]))
