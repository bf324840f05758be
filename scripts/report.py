"""`lab-ddpm report`: see `python scripts/report.py --help`."""

from _command import run

if __name__ == "__main__":
    run("report")
