"""`lab-ddpm import-data`: see `python scripts/import_data.py --help`."""

import sys

from lab_ddpm.cli import main

if __name__ == "__main__":
    sys.exit(main(["import-data", *sys.argv[1:]]))
