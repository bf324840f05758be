"""The settings of a class, read from its source: `--help` must not wait until torch is imported."""

from __future__ import annotations

import ast
import typing
from pathlib import Path


def signature_of(module: str, name: str) -> type:
    """A class that takes the same arguments as another one, and does nothing with them.

    Args:
        module: The other class's module, e.g. "lab_ddpm.diffusion.denoiser". It is not imported.
        name: The other class. The annotations in its `__init__` use built-in names and those of `typing` only, its
            defaults are literals.

    Returns:
        The class, with the docstring of the other one.
    """
    path = Path(__file__).parents[2].joinpath(*module.split(".")).with_suffix(".py")
    (found,) = (node for node in _body(path) if isinstance(node, ast.ClassDef) and node.name == name)
    (init,) = (node for node in found.body if isinstance(node, ast.FunctionDef) and node.name == "__init__")
    init.decorator_list, init.body = [], [ast.Pass()]
    stub = ast.ClassDef(name, bases=[], keywords=[], body=[init], decorator_list=[], type_params=[])  # pyright: ignore
    namespace = {**vars(typing), "__name__": module}
    exec(compile(ast.fix_missing_locations(ast.Module([stub], [])), str(path), "exec"), namespace)
    namespace[name].__doc__ = ast.get_docstring(found)
    return namespace[name]


def _body(path: Path) -> list[ast.stmt]:
    return ast.parse(path.read_text(encoding="utf-8")).body
