"""`lab-ddpm check-replica`: see `python scripts/check_replica.py --help`."""

import sys

from lab_ddpm.cli import main

if __name__ == "__main__":
    sys.exit(main(["check-replica", *sys.argv[1:]]))
