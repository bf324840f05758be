"""Join a module of lab_ddpm and the modules of lab_ddpm that it imports to one file.

diffusers loads a pipeline's code from one file. From a local folder it copies only the modules that this file itself
names, and puts them all into one folder, where the modules of two models would overwrite each other. So the modules are
joined here.
"""

from __future__ import annotations

import re
import symtable
from collections import Counter
from importlib.util import find_spec
from pathlib import Path

_OURS = re.compile(r"^from (lab_ddpm[.\w]*) import (?:\([^)]*\)|.*)\n", re.MULTILINE)
_FUTURE = "from __future__ import annotations\n"


def one_file(title: str, module: str) -> str:
    """The source of a module that works without lab_ddpm.

    Args:
        title: The docstring of the new module.
        module: The name of the module, such as `lab_ddpm.diffusion.pipeline`.

    Raises:
        ValueError: Two modules bind the same name, or one imports from lab_ddpm in a function.
    """
    sources: dict[str, str] = {}  # imported modules before those that import them

    def add(name: str) -> None:
        spec = find_spec(name)
        assert spec is not None
        assert spec.origin is not None
        source = Path(spec.origin).read_text(encoding="utf-8")
        for imported in _OURS.findall(source):
            if imported not in sources:
                add(imported)
        sources[name] = _OURS.sub("", source).replace(_FUTURE, "")

    add(module)
    joined = "\n\n".join(sources.values())
    if late := re.search(r"^ +from lab_ddpm.*", joined, re.MULTILINE):
        raise ValueError(f"{module} cannot be one file: {late[0]}")
    names = Counter(name for source in sources.values() for name in _bound_names(source))
    if twice := [name for name, count in names.items() if count > 1]:
        raise ValueError(f"{module} cannot be one file: more than one module has {twice}")
    return f'"""{title}"""\n\n{_FUTURE}\n{joined}'


def _bound_names(source: str) -> list[str]:
    """The names that a module defines, other than by an import."""
    symbols = symtable.symtable(source, "module", "exec").get_symbols()
    return [symbol.get_name() for symbol in symbols if symbol.is_assigned() and not symbol.is_imported()]
