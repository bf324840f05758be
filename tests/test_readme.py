"""The documentation is tested by what it says: commands, Python, links, names, figures and lengths."""

from __future__ import annotations

import argparse
import ast
import json
import re
import shlex
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn

import pytest

from lab_ddpm.cli import GROUPS, load
from lab_ddpm.evaluation.intervals import as_text
from lab_ddpm.training.config_parser import parse_config

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
PAGES = sorted(ROOT.glob("docs/*.md"))
CARD = ROOT / "pretrained/iclevr-cpu/README.md"
DOCUMENTS = [README, ROOT / "CONTRIBUTING.md", *PAGES, *ROOT.glob("evaluator/*.md"), *ROOT.glob("pretrained/*/*.md")]
RECIPES = [*ROOT.glob("configs/*.yaml"), *ROOT.glob("benchmarks/configs/*.yaml"), ROOT / "Makefile"]
PROGRAM = r"(?:python|(?:accelerate launch|torchrun)(?: \S+)*?) (?P<folder>scripts|benchmarks)/(?P<file>\w+)\.py"
COMMAND = re.compile(rf"(?:{PROGRAM}|lab-ddpm (?P<name>[a-z][a-z-]+))\b")
BLOCK = re.compile(r"```(\w*)\n(.*?)```", re.DOTALL)


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


for_each_document = pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)


def spans(text: str) -> list[str]:
    """The code in single backquotes."""
    return [" ".join(span.split()) for span in re.findall(r"`([^`]+)`", BLOCK.sub("", text))]


def commands(path: Path) -> Iterator[str]:
    """The command lines of a document, or of a config's or the Makefile's comments and recipes."""
    text = path.read_text(encoding="utf-8")
    lines = text if path.suffix != ".md" else "\n".join(block for _, block in BLOCK.findall(text))
    lines = lines.replace("\\\n", " ").replace("$(BIN)/", "").splitlines()
    for line in [*lines, *(spans(text) if path.suffix == ".md" else ())]:
        command = re.sub(r"^#\s+|\s{2,}#.*", "", " ".join(re.sub(r"\s{2,}#.*", "", line).split()))
        if COMMAND.match(command):
            yield command


class Parsed(Exception):
    """The arguments of a program were parsed."""


def main_of(match: re.Match[str]) -> Callable[[list[str]], object]:
    """The main function of the program that a command line starts."""
    name = match["name"] or match["file"].replace("_", "-")
    if name == "train":
        return parse_config
    return (import_module(match["file"]) if match["folder"] == "benchmarks" else load(name)).main


@pytest.fixture
def parse(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Lets the program of a command line parse its arguments, and stops it there."""
    parse_args = argparse.ArgumentParser.parse_args

    def stop(parser: argparse.ArgumentParser, *arguments: Any) -> NoReturn:
        parse_args(parser, *arguments)
        raise Parsed

    def parse(command: str) -> None:
        match = COMMAND.match(command)
        assert match is not None
        main, arguments = main_of(match), [word for word in shlex.split(command[match.end() :]) if word != "--help"]
        if main is parse_config:
            main(arguments)
            return
        with monkeypatch.context() as patch:
            patch.setattr(argparse.ArgumentParser, "parse_args", stop)
            with pytest.raises(Parsed):
                main(arguments)

    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    monkeypatch.chdir(ROOT)
    return parse


@pytest.mark.parametrize("path", [*DOCUMENTS, *RECIPES], ids=name_of)
def test_its_commands_are_understood(path: Path, parse: Callable[[str], None]) -> None:
    failed = {}
    for command in commands(path):
        try:
            parse(command)
        except (Exception, SystemExit, pytest.fail.Exception) as error:
            failed[command] = str(error)
    assert not failed


def test_commands_are_found() -> None:
    assert len([*commands(README)]) > 10


def anchors(document: Path) -> set[str]:
    """The anchors that GitHub gives to the headings of a document."""
    headings = re.findall(r"^#+ (.*)$", BLOCK.sub("", document.read_text(encoding="utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@for_each_document
def test_its_links_lead_somewhere(document: Path) -> None:
    text = document.read_text(encoding="utf-8")
    for target, anchor in re.findall(r"\]\(([^)#]*)#?([^)]*)\)", text):
        if not target.startswith("https://"):
            place = document.parent / target if target else document
            assert place.exists(), target
            assert not anchor or anchor in anchors(place), f"{target}#{anchor}"


@for_each_document
def test_the_files_and_settings_that_it_names_exist(document: Path) -> None:
    config = parse_config([])
    for span in spans(document.read_text(encoding="utf-8")):
        if re.fullmatch(r"(configs|scripts|benchmarks|tests|src|docs)/[a-z0-9_/.]*", span):
            assert (ROOT / span).exists(), span
        elif re.fullmatch(r"[a-z]+/[a-z_]+\.py", span):
            assert any((folder / span).is_file() for folder in (ROOT, ROOT / "src/lab_ddpm")), span
        elif found := re.match(r"(data|model|loss|optimizer|sampling|evaluation)\.(?!py\b)([a-z_]+)", span):
            section = getattr(config, found[1])
            assert found[2] in (section if isinstance(section, dict) else vars(section)), span


@for_each_document
def test_it_is_short(document: Path) -> None:
    lines = document.read_text(encoding="utf-8").splitlines()
    assert document not in (README, *PAGES) or len(lines) <= 120
    longest = max((line for line in lines if document == README or not line.startswith("|")), key=len)
    assert len(longest) <= 120, longest


def test_the_readme_shows_the_commands_that_come_first_in_the_help() -> None:
    first, *_ = GROUPS.values()
    assert tuple(re.findall(r"^\| `([a-z-]+)` \|", README.read_text(encoding="utf-8"), re.MULTILINE)) == first


def rows(document: Path) -> set[str]:
    return set(re.findall(r"^\| .* \|$", document.read_text(encoding="utf-8"), re.MULTILINE))


def test_the_tables_have_the_scores_of_the_shipped_metrics() -> None:
    metrics = json.loads((CARD.parent / "metrics.json").read_text(encoding="utf-8"))
    for split, by_classifier in metrics["splits"].items():
        for classifier, scores in by_classifier.items():
            figures = [scores["micro"], scores["exact_match"], metrics["counted"][split]["right"]]
            texts = " | ".join(as_text(figure, ".3f") for figure in figures)
            row = f"| {split} | {len(metrics['seeds'])} | `{classifier}` | {texts} |"
            assert row in rows(CARD)
            if classifier == "referee":
                assert any(shown.startswith(f"| {split} ") and texts in shown for shown in rows(README))


def test_the_same_score_is_the_same_everywhere() -> None:
    scored = re.compile(r"\| ([\w ]+) \| \d+ \| `referee` \| (.*) \|")
    card = {match[1]: match[2] for row in rows(CARD) if (match := scored.fullmatch(row))}
    assert card == {m[1]: m[2] for row in rows(ROOT / "docs/results.md") if (m := scored.fullmatch(row))}
    for split in ("test", "new_test", "unseen", "many"):
        assert any(row.startswith(f"| {split} |") and row.endswith(f"| {card[split]} |") for row in rows(README))


def python_blocks(document: Path) -> list[str]:
    return [code for language, code in BLOCK.findall(document.read_text(encoding="utf-8")) if language == "python"]


@pytest.mark.parametrize("document", [README, *PAGES], ids=name_of)
def test_what_its_python_imports_exists(document: Path) -> None:
    for code in python_blocks(document):
        for node in ast.walk(ast.parse(code)):
            if isinstance(node, ast.ImportFrom) and str(node.module).startswith("lab_ddpm"):
                for name in node.names:
                    assert hasattr(import_module(str(node.module)), name.name), name.name


@pytest.mark.parametrize(
    "document", [README, pytest.param(ROOT / "docs/python.md", marks=pytest.mark.slow)], ids=name_of
)
def test_its_python_runs(document: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    for code in python_blocks(document):
        exec(compile(code, name_of(document), "exec"), names)
    assert len(names["images"]) >= 2


def test_every_message_that_is_explained_is_one_of_the_package() -> None:
    rows = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8").splitlines()
    messages = [row.split("`")[1] for row in rows if row.startswith("| `")]
    source = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "src").rglob("*.py"))
    assert [message for message in messages if message not in source] == []
    assert len(messages) == 13
