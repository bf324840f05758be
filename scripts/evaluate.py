"""`lab-ddpm evaluate`: see `python scripts/evaluate.py --help`."""

from _command import run

if __name__ == "__main__":
    run("evaluate")
