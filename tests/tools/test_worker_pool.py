"""Worker processes: what a job raises reaches the caller, and a killed process is one line."""

import os

import pytest

from lab_ddpm.tools.errors import DataError
from lab_ddpm.tools.worker_pool import available_cores, worker_pool


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="needs Linux")
def test_only_the_cores_of_this_process_are_counted() -> None:
    allowed = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(allowed)})
        assert available_cores() == 1
    finally:
        os.sched_setaffinity(0, allowed)


def test_a_killed_worker_is_an_error_of_the_user() -> None:
    with pytest.raises(DataError), worker_pool(2) as pool:
        pool.submit(os.abort).result()


def test_what_a_job_raises_reaches_the_caller() -> None:
    with pytest.raises(ValueError, match="x"), worker_pool(1) as pool:
        pool.submit(int, "x").result()
