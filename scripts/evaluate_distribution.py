"""`lab-ddpm evaluate-distribution`: see `python scripts/evaluate_distribution.py --help`."""

from _command import run

if __name__ == "__main__":
    run("evaluate-distribution")
