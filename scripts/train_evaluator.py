"""`lab-ddpm train-evaluator`: see `python scripts/train_evaluator.py --help`."""

from _command import run

if __name__ == "__main__":
    run("train-evaluator")
