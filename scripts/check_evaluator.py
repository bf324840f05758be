"""`lab-ddpm check-evaluator`: see `python scripts/check_evaluator.py --help`."""

from _command import run

if __name__ == "__main__":
    run("check-evaluator")
