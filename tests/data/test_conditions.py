"""Names and multi-hot rows are two forms of a condition; the place of every wrong entry of a file is named."""

import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lab_ddpm.data.conditions import (
    check_condition,
    encode,
    every_label,
    join_condition,
    load_conditions,
    load_labels,
    load_objects,
    parse_conditions,
    shows,
    to_rows,
)
from lab_ddpm.data.iclevr import OBJECTS
from lab_ddpm.tools.errors import DataError, UserError

conditions = st.lists(st.sampled_from(OBJECTS), min_size=1, max_size=24, unique=True)

WRONG = {
    "unknown": ["red cube", "red cone"],
    "twice": ["red cube", "gray cube", "red cube"],
    "empty": [],
    "text": "red cube",
    "null": None,
    "nested": [["red cube"]],
}
READERS = (partial(load_conditions, labels=OBJECTS), partial(load_labels, labels=OBJECTS), load_objects)
wrong_conditions = pytest.mark.parametrize("condition", WRONG.values(), ids=WRONG.keys())


def write(path: Path, content: object) -> Path:
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


@given(st.lists(conditions, max_size=5))
def test_a_row_is_one_where_the_condition_names_the_label(names: list[list[str]]) -> None:
    class_labels = encode(names, OBJECTS)
    assert class_labels.shape == (len(names), 24)
    assert class_labels.dtype == torch.float32
    assert class_labels.tolist() == [[float(name in condition) for name in OBJECTS] for condition in names]


def test_texts_are_split_at_commas_unless_they_are_a_label() -> None:
    entries = ["red cube,  cyan sphere", ("gray cube",), "a, b"]
    assert parse_conditions(entries, (*OBJECTS, "a, b")) == [("red cube", "cyan sphere"), ("gray cube",), ("a, b",)]
    assert join_condition(["a", "b, c"], ("a", "b", "c")) == ("a", "b", "c")
    with pytest.raises(UserError):
        parse_conditions("red cube", OBJECTS)


def test_a_label_is_known_in_any_spelling_of_unicode_and_blanks() -> None:
    assert parse_conditions(["Blu\u0308te ,wild  rose", ("Blu\u0308te",)], ("Blüte", "wild rose")) == [
        ("Blüte", "wild rose"),
        ("Blüte",),
    ]


def test_names_and_arrays_and_tensors_are_the_same_rows() -> None:
    rows = to_rows(["red cube, cyan sphere", ("gray cube",), ()], OBJECTS)
    named = encode([("red cube", "cyan sphere"), ("gray cube",)], OBJECTS)
    assert torch.equal(rows, torch.cat([named, torch.zeros(1, 24)]))
    for form in (rows, rows.long(), rows.numpy(), rows.numpy().astype(bool), rows.numpy()[::-1][::-1]):
        again = to_rows(form, OBJECTS)
        assert again.dtype == torch.float32
        assert torch.equal(again, rows)


@pytest.mark.parametrize(
    "conditions",
    [np.zeros((2, 5)), torch.zeros(24), np.array(["red cube"]), [[0, 1] + [0] * 22], list(np.eye(24)), [7]],
    ids=["columns", "one row", "array of texts", "list of rows", "list of arrays", "list of numbers"],
)
def test_rows_of_another_form_are_refused_in_one_line(conditions: Any) -> None:
    with pytest.raises(UserError, match="24") as caught:
        to_rows(conditions, OBJECTS)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("RED CUBES", "red cube"),
        ("Cyan sphere and red cube", "cyan sphere, red cube"),
        ('"red cube" "cyan sphere"', "red cube, cyan sphere"),
        ("red cub", "red cube"),
    ],
)
def test_the_error_suggests_labels(text: str, meant: str) -> None:
    with pytest.raises(UserError, match=f"^did you mean '{meant}'"):
        to_rows([text], OBJECTS)


def test_the_longest_of_similar_labels_is_suggested() -> None:
    with pytest.raises(UserError, match=r"^did you mean 't-shirt \(long\)'\? "):
        to_rows(["T-Shirt (long)"], ("t-shirt", "t-shirt (long)"))


def test_an_unconditional_model_has_no_labels() -> None:
    with pytest.raises(UserError, match="unconditional"):
        to_rows(["cat"], ())


@wrong_conditions
def test_a_wrong_condition_is_refused_and_its_place_in_a_file_named(tmp_path: Path, condition: Any) -> None:
    for check in (lambda: check_condition(condition, OBJECTS), lambda: encode([["red cube"], condition], OBJECTS)):
        with pytest.raises(UserError) as caught:
            check()
        assert caught.value.exit_code == 2
    conditions = write(tmp_path / "list.json", [["red cube"], condition])
    with pytest.raises(DataError, match=r"list\.json: condition 1: ") as caught:
        load_conditions(conditions, OBJECTS)
    assert caught.value.exit_code == 1
    labels = write(tmp_path / "train.json", {"a.png": ["red cone"], "b.png": ["red cube"], "c.png": condition})
    with pytest.raises(DataError) as caught:
        load_labels(labels, OBJECTS)
    assert [line.split(": ")[1] for line in str(caught.value).splitlines()] == ["a.png", "c.png"]


@pytest.mark.parametrize("content", [{}, [], "red cube", 3, None], ids=repr)
def test_a_file_of_another_shape_is_refused(tmp_path: Path, content: object) -> None:
    path = write(tmp_path / "file.json", content)
    for load in READERS:
        with pytest.raises(DataError, match=r"file\.json"):
            load(path)


@pytest.mark.parametrize("content", [b"", b'[["red cube"]', b"\xff\xfe\x00", b"[" * 100_000, None])
def test_a_file_that_is_missing_or_not_json_is_named(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "file.json"
    if content is not None:
        path.write_bytes(content)
    for load in READERS:
        with pytest.raises(DataError, match=r"file\.json"):
            load(path)


def test_an_image_that_is_listed_twice_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "train.json"
    path.write_text('{"a.png": ["red cube"], "a.png": ["gray cube"]}', encoding="utf-8")
    with pytest.raises(DataError, match=r"train\.json: .*a\.png"):
        load_labels(path, OBJECTS)


def test_a_vocabulary_is_read_in_the_order_of_its_indices(tmp_path: Path) -> None:
    assert load_objects(write(tmp_path / "objects.json", {"b": 1, "c": 2, "a": 0})) == ("a", "b", "c")


@pytest.mark.parametrize("indices", [(0, 2), (0, 0), (0, "1"), (0, 1.0), (False, True), (-1, 0)], ids=repr)
def test_a_vocabulary_whose_indices_do_not_count_up_is_refused(tmp_path: Path, indices: tuple) -> None:
    path = write(tmp_path / "objects.json", dict(zip("ab", indices, strict=True)))
    with pytest.raises(DataError, match=r"objects\.json"):
        load_objects(path)


def test_an_image_shows_what_it_contains() -> None:
    assert shows(("red cube", "cyan sphere"), ["cyan sphere"])
    assert not shows(("red cube", "cyan sphere"), ["red cube", "red sphere"])


@pytest.mark.parametrize(("count", "expected"), [(6, "aabbcc"), (4, "aabc"), (2, "ab")])
def test_every_label_comes_in_order_and_as_often_as_the_others(count: int, expected: str) -> None:
    assert every_label(("a", "b", "c"), count) == [(label,) for label in expected]
    assert every_label((), 3) == [(), (), ()]
