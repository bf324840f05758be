"""The benchmarks import each other by name; their tests use the oracles and fixtures of the project's tests."""

import sys
from pathlib import Path

BENCHMARKS = Path(__file__).parents[1]
sys.path[:0] = [str(BENCHMARKS), str(BENCHMARKS.parent / "tests")]

from conftest import dataset_template, tiny_dataset  # noqa: E402

__all__ = ["dataset_template", "tiny_dataset"]
