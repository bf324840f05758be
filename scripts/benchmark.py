"""`lab-ddpm benchmark`: see `python scripts/benchmark.py --help`."""

from _command import run

if __name__ == "__main__":
    run("benchmark")
