"""`lab-ddpm study-interpolation`: see `python scripts/study_interpolation.py --help`."""

from _command import run

if __name__ == "__main__":
    run("study-interpolation")
