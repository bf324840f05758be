"""Worker processes: one that is killed ends the work in one line."""

import os

import pytest

from lab_ddpm.tools.errors import DataError
from lab_ddpm.tools.worker_pool import worker_pool


def test_a_killed_worker_is_one_line() -> None:
    with pytest.raises(DataError, match="one of 2 worker processes was killed"), worker_pool(2) as pool:
        pool.submit(os.abort).result()


def test_what_a_job_raises_reaches_the_caller() -> None:
    with pytest.raises(ValueError, match="invalid literal"), worker_pool(1) as pool:
        pool.submit(int, "x").result()
