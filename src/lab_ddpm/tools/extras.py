"""Packages that only some commands need: the extras of pyproject.toml."""

from __future__ import annotations

from importlib.util import find_spec

from lab_ddpm.tools.errors import UserError

EXTRAS = {
    "mitsuba": "render",
    "matplotlib": "report",
    "jinja2": "report",
    "markdown": "report",
    "gradio": "playground",
    "onnxruntime": "onnx",
    "onnxscript": "onnx",
    "torch_fidelity": "inception",
    "datasets": "hub",
}
"""Module -> the extra that installs it."""


def require_extra(*modules: str) -> None:
    """Raise `UserError`, with the command that installs it, for the first of these modules that is missing."""
    for module in modules:
        if find_spec(module) is None:
            raise UserError(f"{module} is not installed: pip install 'lab_ddpm[{EXTRAS[module]}]'", exit_code=1)
