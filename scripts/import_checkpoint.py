"""`lab-ddpm import-checkpoint`: see `python scripts/import_checkpoint.py --help`."""

import sys

from lab_ddpm.cli import main

if __name__ == "__main__":
    sys.exit(main(["import-checkpoint", *sys.argv[1:]]))
