"""`lab-ddpm check-replica`: see `python scripts/check_replica.py --help`."""

from _command import run

if __name__ == "__main__":
    run("check-replica")
