"""`lab-ddpm import-checkpoint`: see `python scripts/import_checkpoint.py --help`."""

from _command import run

if __name__ == "__main__":
    run("import-checkpoint")
