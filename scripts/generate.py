"""`lab-ddpm generate`: see `python scripts/generate.py --help`."""

from _command import run

if __name__ == "__main__":
    run("generate")
