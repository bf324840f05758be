"""Which process of a launch this one is, before torch is loaded; `hardware.this_process` says it afterwards."""

from __future__ import annotations

import os


def is_first_process() -> bool:
    """Whether this is the first process of a launch, or the only one."""
    return os.environ.get("RANK", "0") == "0"
