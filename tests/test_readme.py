"""Every command that the documentation shows is one that the program takes."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from lab_ddpm.cli import load
from lab_ddpm.training.config_parser import parse_config

ROOT = Path(__file__).parents[1]
DOCUMENTS = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *ROOT.glob("docs/*.md"),
    *ROOT.glob("*/README.md"),
    *ROOT.glob("pretrained/*/README.md"),
]
SOURCES = [*DOCUMENTS, *ROOT.glob("configs/**/*.yaml"), ROOT / "Makefile"]


def commands() -> list[tuple[str, str]]:
    """(file, command line) of every call of a script or of lab-ddpm in a code block, a comment or a recipe."""
    found = []
    for path in SOURCES:
        text = path.read_text(encoding="utf-8").replace("\\\n", " ")
        for line in text.splitlines():
            line = re.sub(r"\s{2,}#.*|^#\s+", "", line).replace("$(BIN)/", "").strip().strip("`")
            if re.match(r"(python scripts/|accelerate launch |lab-ddpm )", line):
                found.append((path.relative_to(ROOT).as_posix(), line))
    return found


def test_the_documents_show_commands() -> None:
    assert len(commands()) > 15


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_what_a_document_links_to_is_there(document: Path) -> None:
    text = document.read_text(encoding="utf-8")
    assert "<!--" not in text  # a figure that is still to come
    for target in re.findall(r"\]\(([^)#]+)", text):
        assert target.startswith("https://") or (document.parent / target).exists(), target


@pytest.mark.parametrize(("source", "command"), commands())
def test_a_documented_command_is_understood(source: str, command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    script = re.search(r"scripts/(\w+)\.py|lab-ddpm ([\w-]+)", command)
    assert script is not None, f"{source}: no script in {command!r}"
    name = (script[1] or script[2]).replace("_", "-")
    if script[1]:
        assert (ROOT / "scripts" / f"{script[1]}.py").is_file()
    arguments = shlex.split(command[script.end() :])
    if name == "train":
        parse_config(arguments)
    else:
        load(name).parser().parse_args(arguments)
