"""`lab-ddpm interpolate`: see `python scripts/interpolate.py --help`."""

from _command import run

if __name__ == "__main__":
    run("interpolate")
