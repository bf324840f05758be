"""Read the settings of a section from the arguments of a constructor, so that they are written only once.

The constructors are read from their source code. Importing their modules would load torch, and `--help` and a mistyped
option would have to wait for it.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from lab_ddpm.diffusion.denoiser_settings import BetaSchedule, PredictionType

_PACKAGE = Path(__file__).parents[1]
_NAMES = {
    "Literal": Literal,
    "Mapping": Mapping,
    "Sequence": Sequence,
    "Any": Any,
    "Size": Any,
    "BetaSchedule": BetaSchedule,
    "PredictionType": PredictionType,
    "Scheduler": str,  # a setting names its scheduler
}


def read_signature(module: str, name: str) -> type:
    """A class with the docstring and the constructor arguments of a class in a file of the package, and nothing else.

    That class has an `__init__`, or is a dataclass.
    """
    kept: list[ast.stmt] = []
    for node in ast.parse((_PACKAGE / module).read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.value).startswith("Literal["):
            kept.append(node)  # the choices that an argument is annotated with
        if isinstance(node, ast.ClassDef) and node.name == name:
            inits = [part for part in node.body if isinstance(part, ast.FunctionDef) and part.name == "__init__"]
            for init in inits:
                init.decorator_list, init.body = [], [ast.Pass()]
            fields: list[ast.stmt] = [part for part in node.body if isinstance(part, ast.AnnAssign)]
            body = [node.body[0], *(inits or fields)]  # the first is the docstring, which `--help` explains them by
            kept.append(ast.ClassDef(name, bases=[], keywords=[], body=body, decorator_list=[]))
    namespace: dict[str, Any] = dict(_NAMES)
    tree = ast.fix_missing_locations(ast.Module(kept, type_ignores=[]))
    exec(compile(tree, module, "exec", dont_inherit=True), namespace)  # else annotations would stay text, as here
    return namespace[name] if "__init__" in vars(namespace[name]) else dataclass(namespace[name])
