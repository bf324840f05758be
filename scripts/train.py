"""`lab-ddpm train`: see `python scripts/train.py --help`."""

from _command import run

if __name__ == "__main__":
    run("train")
