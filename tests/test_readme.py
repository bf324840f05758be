"""Every command that the documentation shows is one that the program takes."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest

from lab_ddpm.cli import load
from lab_ddpm.evaluation.intervals import as_text
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
    """(file, command line) of all calls of scripts or of lab-ddpm in code blocks, code spans, comments and recipes."""
    found = []
    for path in SOURCES:
        text = path.read_text(encoding="utf-8").replace("\\\n", " ")
        spans = []
        if path.suffix == ".md":
            blocks = re.findall(r"```.*?```", text, re.DOTALL)
            spans = re.findall(r"`([^`]+)`", re.sub(r"```.*?```", "", text, flags=re.DOTALL))
            text = "\n".join(blocks)
        lines = [re.sub(r"\s{2,}#.*|^#\s+", "", line).replace("$(BIN)/", "") for line in text.splitlines()]
        for command in (" ".join(words.split()) for words in [*lines, *spans]):
            if re.match(r"(python scripts/\w+\.py|accelerate launch .*scripts/\w+\.py|lab-ddpm [a-z])", command):
                found.append((path.relative_to(ROOT).as_posix(), command))
    return found


def test_the_documents_show_commands() -> None:
    assert len(commands()) > 15


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_what_a_document_links_to_is_there(document: Path) -> None:
    text = document.read_text(encoding="utf-8")
    assert "<!--" not in text  # a figure that is still to come
    for target in re.findall(r"\]\(([^)#]+)", text):
        assert target.startswith("https://") or (document.parent / target).exists(), target


@pytest.mark.parametrize("document", ["README.md", "pretrained/iclevr-cpu/README.md"])
def test_the_tables_have_the_scores_of_the_shipped_metrics(document: str) -> None:
    metrics = json.loads((ROOT / "pretrained/iclevr-cpu/metrics.json").read_text(encoding="utf-8"))
    lines = (ROOT / document).read_text(encoding="utf-8").splitlines()
    for split, by_classifier in metrics["splits"].items():
        for classifier, scores in by_classifier.items():
            texts = [as_text(scores[key], ".3f") for key in ("micro", "exact_match")]
            assert f"| {split} | {len(metrics['seeds'])} | `{classifier}` | {texts[0]} | {texts[1]} |" in lines


@pytest.mark.parametrize(("source", "command"), commands())
def test_a_documented_command_is_understood(source: str, command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    script = re.search(r"scripts/(\w+)\.py|lab-ddpm ([\w-]+)", command)
    assert script is not None, f"{source}: no script in {command!r}"
    name = (script[1] or script[2]).replace("_", "-")
    if script[1]:
        assert (ROOT / "scripts" / f"{script[1]}.py").is_file()
    arguments = [word for word in shlex.split(command[script.end() :]) if word != "--help"]
    if name == "train":
        parse_config(arguments)
    else:
        load(name).parser().parse_args(arguments)
