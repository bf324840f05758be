"""Compare a rendered replica with measurements of real i-CLEVR pictures; exit code 1 if one is off."""

import argparse
import sys

from lab_ddpm.replica_check import check_replica


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("root", nargs="?", default="data/iclevr", help="folder of a finished replica")
    try:
        comparisons = check_replica(parser.parse_args().root)
    except (ValueError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    print(*comparisons, sep="\n")
    return int(not all(comparison.passes for comparison in comparisons))


if __name__ == "__main__":
    sys.exit(main())
