"""`lab-ddpm render`: see `python scripts/render.py --help`."""

from _command import run

if __name__ == "__main__":
    run("render")
