"""`lab-ddpm import-data`: see `python scripts/import_data.py --help`."""

from _command import run

if __name__ == "__main__":
    run("import-data")
