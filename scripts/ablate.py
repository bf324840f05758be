"""`lab-ddpm ablate`: see `python scripts/ablate.py --help`."""

from _command import run

if __name__ == "__main__":
    run("ablate")
