"""The playground's server: where it listens, and one in a process of its own."""

from __future__ import annotations

import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import psutil

from lab_ddpm.tools.errors import UserError

HOST = "127.0.0.1"  # the page is served to this machine only
_WAIT = 300.0  # seconds, for the server to start


def check_installed() -> None:
    """Raise `UserError` where Gradio is not installed."""
    if find_spec("gradio") is None:
        raise UserError("gradio is not installed: pip install 'lab_ddpm[playground]'")


def is_taken(port: int) -> bool:
    """Whether something listens on a port of this machine."""
    with socket.socket() as probe:
        return probe.connect_ex((HOST, port)) == 0


@contextmanager
def running_playground(checkpoint: Path) -> Iterator[tuple[str, psutil.Process]]:
    """A playground in a process of its own: its address, and the process.

    Raises:
        UserError: It does not start; with the last line that it wrote.
    """
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "lab_ddpm", "playground", "--checkpoint", str(checkpoint), "--port", str(port)]
    with (
        tempfile.TemporaryFile("w+") as errors,
        subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=errors) as server,
    ):
        try:
            end = time.perf_counter() + _WAIT
            while not is_taken(port):
                if server.poll() is not None or time.perf_counter() > end:
                    errors.seek(0)
                    last = (errors.read().strip().splitlines() or ["without a word"])[-1]
                    raise UserError(f"`lab-ddpm playground --checkpoint {checkpoint}` does not start: {last}")
                time.sleep(0.2)
            yield f"http://{HOST}:{port}", psutil.Process(server.pid)
        finally:
            server.terminate()
