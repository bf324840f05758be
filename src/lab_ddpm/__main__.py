"""`python -m lab_ddpm COMMAND` is `lab-ddpm COMMAND`."""

from lab_ddpm.cli import entry_point

entry_point()
