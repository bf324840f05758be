"""The files that come with the package: condition lists, classifiers, configs, scripts and the small i-CLEVR pipeline.

They are named by their places in the repository (`evaluator/referee.safetensors`), and looked for in the working folder
first, so that files of one's own win, then in what the package brought: in an installed wheel the folder `shipped/`
beside this one, in an editable install the repository itself.
"""

from __future__ import annotations

from pathlib import Path

_PACKAGED = Path(__file__).parents[1] / "shipped"
SHIPPED = _PACKAGED if _PACKAGED.is_dir() else Path(__file__).parents[3]
_FOLDERS = ("configs", "data/iclevr", "evaluator", "pretrained", "scripts")


def pipelines() -> list[str]:
    """The shipped pipelines, by their places in the repository."""
    return sorted(str(index.parent.relative_to(SHIPPED)) for index in SHIPPED.glob("pretrained/*/model_index.json"))


def find(path: str | Path) -> Path:
    """Where a file or folder is: `path` itself, unless it is only there among the shipped ones."""
    path = Path(path)
    is_ours = any(path.is_relative_to(folder) for folder in _FOLDERS)
    return SHIPPED / path if is_ours and not path.exists() and (SHIPPED / path).exists() else path
