"""YAML files of settings. One file may extend another: `extends: OTHER.yaml`, then what differs from that file.

jsonargparse reads several files in a row, but a file cannot name the one that it extends.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from lab_ddpm.tools.errors import UserError
from lab_ddpm.tools.files import expand_path
from lab_ddpm.tools.shipped import find_shipped


def read_preset(path: str | Path, extending: Sequence[Path] = ()) -> dict[str, Any]:
    """The settings of a file, merged with those of the files that it extends; they are not checked.

    `extending` are the files that extend this one, resolved.

    Raises:
        UserError: Naming the file that is missing, broken or extends itself.
    """
    return extended(read_mapping(path), path, extending)


def read_mapping(path: str | Path) -> dict[str, Any]:
    """The mapping in a YAML file.

    Raises:
        UserError: Naming the file and what is wrong with it.
    """
    try:
        content = yaml.load(find_shipped(path).read_text(encoding="utf-8"), _Loader)
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from None
    except (ValueError, RecursionError, yaml.YAMLError) as error:  # also invalid UTF-8, and dates of month 13
        raise UserError(f"{path}: not valid YAML ({' '.join(str(error).split())})") from None
    if not isinstance(content, dict):
        raise UserError(f"{path}: must be a mapping of settings, got {content!r}")
    return content


class _Loader(yaml.SafeLoader):
    """The safe loader, which also refuses a key that is written twice, and expands paths, see `expand_path`."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        if twice := [key for key in keys if keys.count(key) > 1]:
            raise yaml.constructor.ConstructorError(None, None, f"the key {twice[0]!r} is written twice")
        return super().construct_mapping(node, deep)

    def construct_scalar(self, node: yaml.ScalarNode) -> Any:
        return expand_path(super().construct_scalar(node))


def extended(settings: dict[str, Any], path: str | Path, extending: Sequence[Path] = ()) -> dict[str, Any]:
    """The `settings` of the file at `path`, merged over those of the file that it extends.

    Raises:
        UserError: `extends` names no other file, or one that is missing or broken or extends this one.
    """
    own = {key: value for key, value in settings.items() if key != "extends"}
    base, path = settings.get("extends"), find_shipped(path)
    if base is None:
        return own
    chain = [*extending, Path(path).resolve()]
    if not isinstance(base, str) or (Path(path).parent / base).resolve() in chain:
        raise UserError(f"{path}: `extends` must name another YAML file beside it, got {base!r}")
    merged = read_preset(Path(path).parent / base, chain)
    for key, value in own.items():
        section = merged.get(key)
        merged[key] = {**section, **value} if isinstance(section, dict) and isinstance(value, dict) else value
    return merged
