"""The files that come with the package: condition lists, classifiers, configs, scripts and the small i-CLEVR pipeline.

Their names are their paths in the repository, such as `evaluator/referee.safetensors`. They are looked for in the
working folder first, so the user's own files win, then in the package: an installed wheel has the folder `shipped/`, an
editable install has the repository itself.
"""

from __future__ import annotations

from pathlib import Path

_PACKAGED = Path(__file__).parents[1] / "shipped"
SHIPPED = _PACKAGED if _PACKAGED.is_dir() else Path(__file__).parents[3]
_FOLDERS = ("configs", "data/iclevr", "evaluator", "pretrained", "scripts")


def find_shipped(path: str | Path) -> Path:
    """Where a file or folder is: `path` itself, or the shipped one if there is nothing at `path`."""
    path = Path(path)
    is_ours = any(path.is_relative_to(folder) for folder in _FOLDERS)
    return SHIPPED / path if is_ours and not path.exists() and (SHIPPED / path).exists() else path
