"""The code of some classes as one file that needs no `lab_ddpm`: they, and whatever definition of ours they use."""

from __future__ import annotations

import ast
from functools import cache
from importlib.util import find_spec
from pathlib import Path

_PACKAGE = "lab_ddpm"


def one_file(title: str, *wanted: tuple[str, str]) -> str:
    """The source of a module.

    Args:
        title: Its docstring.
        wanted: Module and name of each class or function that shall be in it.

    Raises:
        ValueError: Two modules have different definitions of one name, or one renames what it imports from us.
    """
    definitions: dict[str, tuple[str, str]] = {}  # name -> its module and its source, what is used before what uses it
    imports: set[str] = set()

    def add(module: str, name: str) -> None:
        names = _names(module)
        if name not in names:
            return  # a builtin, an argument or a local variable
        statement = names[name]
        if isinstance(statement, (ast.Import, ast.ImportFrom)):
            if (origin := _ours(statement)) is None:
                alias = next(alias for alias in statement.names if (alias.asname or alias.name) == name)
                imports.add(_import(statement, alias))
            else:
                add(origin, name)
            return
        if name in definitions:
            if definitions[name][0] != module:
                raise ValueError(f"{name} is defined in {definitions[name][0]} and in {module}")
            return
        definitions[name] = (module, "")  # so that what refers to itself comes to an end
        for node in ast.walk(statement):
            if isinstance(node, ast.ImportFrom) and _ours(node):
                raise ValueError(f"{module}.{name} imports {ast.unparse(node)} where it runs")
            if isinstance(node, ast.Name):
                add(module, node.id)
        del definitions[name]
        definitions[name] = (module, _source(module, statement))

    for module, name in wanted:
        add(module, name)
    sources = [source for _, source in definitions.values()]
    head = f'"""{title}"""\n\nfrom __future__ import annotations\n\n' + "\n".join(sorted(imports))
    return head + "\n\n\n" + "\n\n\n".join(sources) + "\n"


@cache
def _parsed(module: str) -> tuple[ast.Module, list[str]]:
    spec = find_spec(module)
    assert spec is not None
    assert spec.origin is not None
    source = Path(spec.origin).read_text(encoding="utf-8")
    return ast.parse(source), source.splitlines()


@cache
def _names(module: str) -> dict[str, ast.stmt]:
    """What a module's names are bound by."""
    names: dict[str, ast.stmt] = {}
    for statement in _parsed(module)[0].body:
        if isinstance(statement, (ast.Import, ast.ImportFrom)):
            for alias in statement.names:
                names[alias.asname or alias.name] = statement
        elif isinstance(statement, (ast.FunctionDef, ast.ClassDef)):
            names[statement.name] = statement
        elif isinstance(statement, (ast.Assign, ast.AnnAssign)):
            targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
            names |= {
                node.id: statement for target in targets for node in ast.walk(target) if isinstance(node, ast.Name)
            }
    return names


def _ours(statement: ast.Import | ast.ImportFrom) -> str | None:
    """The module of this package that is imported from."""
    module = statement.module if isinstance(statement, ast.ImportFrom) else None
    if module is None or module.split(".")[0] != _PACKAGE:
        return None
    if any(alias.asname for alias in statement.names):
        raise ValueError(f"{ast.unparse(statement)} renames what it imports")
    return module


def _import(statement: ast.Import | ast.ImportFrom, alias: ast.alias) -> str:
    name = alias.name if alias.asname is None else f"{alias.name} as {alias.asname}"
    return f"import {name}" if isinstance(statement, ast.Import) else f"from {statement.module} import {name}"


def _source(module: str, statement: ast.stmt) -> str:
    decorators = statement.decorator_list if isinstance(statement, (ast.FunctionDef, ast.ClassDef)) else []
    first = min([statement.lineno, *(decorator.lineno for decorator in decorators)])
    return "\n".join(_parsed(module)[1][first - 1 : statement.end_lineno])
