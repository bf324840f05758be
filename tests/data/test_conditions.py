"""Names and multi-hot rows are two forms of a condition; a wrong file is refused with place and rule."""

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
    count_seen,
    encode,
    every_label,
    join_condition,
    load_conditions,
    load_labels,
    load_objects,
    parse_condition,
    parse_conditions,
    shows,
    to_rows,
)
from lab_ddpm.data.iclevr import OBJECTS
from lab_ddpm.tools.errors import DataError, UserError

conditions = st.lists(st.sampled_from(OBJECTS), min_size=1, max_size=24, unique=True)

WRONG_CONDITIONS = {
    "unknown": (["red cube", "red cone"], "an object must be one of .*gray cube.*, got 'red cone'"),
    "twice": (["red cube", "gray cube", "red cube"], "must not name an object twice, got .*red cube"),
    "empty": ([], "must name at least one object, got an empty list"),
    "string": ("red cube", "must be a list of object names, got 'red cube'"),
    "number": (7, "must be a list of object names, got 7"),
    "null": (None, "must be a list of object names, got None"),
    "nested": ([["red cube"]], r"an object must be one of .*, got \['red cube'\]"),
}
every_reader = pytest.mark.parametrize(
    "load",
    [partial(load_conditions, labels=OBJECTS), partial(load_labels, labels=OBJECTS), load_objects],
    ids=["conditions", "labels", "objects"],
)
wrong_conditions = pytest.mark.parametrize(
    ("condition", "rule"), WRONG_CONDITIONS.values(), ids=WRONG_CONDITIONS.keys()
)


def write(path: Path, content: object) -> Path:
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


@given(st.lists(conditions, max_size=5))
def test_a_row_is_one_where_the_condition_names_the_label(names: list[list[str]]) -> None:
    class_labels = encode(names, OBJECTS)
    assert class_labels.shape == (len(names), 24)
    assert class_labels.dtype == torch.float32
    assert class_labels.tolist() == [[float(name in condition) for name in OBJECTS] for condition in names]


def test_another_vocabulary_has_its_own_columns() -> None:
    assert encode([["b"], ["c", "a"]], labels=("a", "b", "c")).tolist() == [[0, 1, 0], [1, 0, 1]]


def test_a_text_names_labels_or_is_one_with_commas_of_its_own() -> None:
    entries = ["red cube, cyan sphere", ("gray cube",), "a, b"]
    assert parse_conditions(entries, (*OBJECTS, "a, b")) == [("red cube", "cyan sphere"), ("gray cube",), ("a, b",)]
    with pytest.raises(UserError, match="got the text 'red cube'"):
        parse_conditions("red cube", OBJECTS)


def test_names_and_arrays_and_tensors_are_the_same_rows() -> None:
    rows = to_rows(["red cube, cyan sphere", ("gray cube",), ()], OBJECTS)
    named = encode([("red cube", "cyan sphere"), ("gray cube",)], OBJECTS)
    assert torch.equal(rows, torch.cat([named, torch.zeros(1, 24)]))
    for form in (rows, rows.long(), rows.numpy(), rows.numpy().astype(bool), rows.numpy()[::-1][::-1]):
        again = to_rows(form, OBJECTS)
        assert again.dtype == torch.float32
        assert torch.equal(again, rows)


@pytest.mark.parametrize(
    ("conditions", "rule"),
    [
        (np.zeros((2, 5)), r"array of \(N, 24\) numbers, got .*float.* of \(2, 5\)"),
        (torch.zeros(24), r"array of \(N, 24\) numbers, got torch.float32 of \(24,\)"),
        (np.array(["red cube"]), r"array of \(N, 24\) numbers, got <U8 of \(1,\)"),
        ([[0, 1] + [0] * 22], r"rows of numbers one \(N, 24\) array, got \[0, 1, 0, 0, 0, 0, \.\.\.\] in a list"),
        (list(np.eye(24)), r"rows of numbers one \(N, 24\) array, got array"),
        ([7], r"rows of numbers one \(N, 24\) array, got 7 in a list"),
    ],
    ids=["columns", "one row", "array of texts", "list of rows", "list of arrays", "list of numbers"],
)
def test_rows_in_another_form_are_refused_in_one_line(conditions: Any, rule: str) -> None:
    with pytest.raises(UserError, match=rule) as caught:
        to_rows(conditions, OBJECTS)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("Red Cube", "red cube"),
        ("RED CUBE", "red cube"),
        ("red cube cyan sphere", "red cube, cyan sphere"),
        ("Cyan sphere and red cube", "cyan sphere, red cube"),
        ("'red cube'", "red cube"),
        ('"red cube" "cyan sphere"', "red cube, cyan sphere"),
        ("red cub", "red cube"),
        ("RED CUBES", "red cube"),
    ],
)
def test_what_was_meant_is_guessed(text: str, meant: str) -> None:
    with pytest.raises(UserError, match=f"^did you mean '{meant}'\\? an object must be one of"):
        to_rows([text], OBJECTS)


def test_labels_asked_of_an_unconditional_model_are_refused_as_such() -> None:
    with pytest.raises(UserError, match="the model is unconditional and knows no labels, got 'red cube'"):
        check_condition(["red cube"], ())
    with pytest.raises(UserError, match=r"^the model is unconditional and knows no labels, got 'cat'"):
        to_rows(["cat"], ())


def test_the_words_of_an_option_are_one_condition() -> None:
    assert join_condition(["a", "b, c"], ("a", "b", "c")) == ("a", "b", "c")
    with pytest.raises(UserError, match="must not name an object twice"):
        join_condition(["a", "b, a"], ("a", "b", "c"))


def test_a_label_within_a_longer_one_is_not_what_was_meant() -> None:
    with pytest.raises(UserError, match=r"^did you mean 't-shirt \(long\)'\? "):
        to_rows(["T-Shirt (long)"], ("t-shirt", "t-shirt (long)"))


@wrong_conditions
def test_a_wrong_condition_is_refused_with_the_rule(condition: list[str], rule: str) -> None:
    with pytest.raises(UserError, match=rule) as caught:
        check_condition(condition, OBJECTS)
    assert caught.value.exit_code == 2
    with pytest.raises(UserError, match=rule):
        encode([["red cube"], condition], OBJECTS)


@wrong_conditions
def test_a_wrong_condition_in_a_list_is_named_with_file_place_and_rule(
    tmp_path: Path, condition: object, rule: str
) -> None:
    path = write(tmp_path / "list.json", [["red cube"], condition])
    with pytest.raises(DataError, match=f"list.json: condition 1: .*{rule}") as caught:
        load_conditions(path, OBJECTS)
    assert caught.value.exit_code == 1


@wrong_conditions
def test_a_wrong_label_is_named_with_file_image_and_rule(tmp_path: Path, condition: object, rule: str) -> None:
    path = write(tmp_path / "train.json", {"a.png": ["red cube"], "b.png": condition})
    with pytest.raises(DataError, match=f"train.json: b.png: .*{rule}"):
        load_labels(path, OBJECTS)


def test_every_wrong_label_is_named(tmp_path: Path) -> None:
    path = write(tmp_path / "train.json", {"a.png": ["red cone"], "b.png": ["red cube"], "c.png": []})
    with pytest.raises(DataError) as caught:
        load_labels(path, OBJECTS)
    assert [line.split(": ")[1] for line in str(caught.value).splitlines()] == ["a.png", "c.png"]


@pytest.mark.parametrize("content", [{}, [], {"a": ["red cube"]}, "red cube", 3, None], ids=repr)
def test_a_condition_list_of_another_shape_is_refused(tmp_path: Path, content: object) -> None:
    path = write(tmp_path / "list.json", content)
    with pytest.raises(DataError, match=r"list.json: must be a non-empty JSON list of lists of object names"):
        load_conditions(path, OBJECTS)


@pytest.mark.parametrize("content", [{}, [], [["red cube"]], "red cube", 3, None], ids=repr)
def test_a_training_list_of_another_shape_is_refused(tmp_path: Path, content: object) -> None:
    path = write(tmp_path / "train.json", content)
    with pytest.raises(DataError, match=r"train.json: must be a non-empty JSON object \{image name"):
        load_labels(path, OBJECTS)


@pytest.mark.parametrize("content", [{}, [], ["red cube"], None], ids=repr)
def test_a_vocabulary_of_another_shape_is_refused(tmp_path: Path, content: object) -> None:
    with pytest.raises(DataError, match=r"objects.json: must be a non-empty JSON object \{object name"):
        load_objects(write(tmp_path / "objects.json", content))


@pytest.mark.parametrize("indices", [(0, 2), (1, 2), (0, 0), (0, "1"), (0, 1.0), (False, True), (-1, 0)], ids=repr)
def test_a_vocabulary_whose_indices_do_not_count_up_is_refused(tmp_path: Path, indices: tuple) -> None:
    path = write(tmp_path / "objects.json", dict(zip("ab", indices, strict=True)))
    with pytest.raises(DataError, match=r"objects.json: the indices must be 0 ... 1, each once, got"):
        load_objects(path)


def test_a_vocabulary_is_read_in_the_order_of_its_indices(tmp_path: Path) -> None:
    assert load_objects(write(tmp_path / "objects.json", {"b": 1, "c": 2, "a": 0})) == ("a", "b", "c")


@every_reader
@pytest.mark.parametrize(
    "content",
    [b"", b'[["red cube"]', b"\xff\xfe\x00", b"[" * 100_000],
    ids=["empty", "cut", "binary", "endless"],
)
def test_a_file_that_is_no_json_is_named(tmp_path: Path, load, content: bytes) -> None:
    (tmp_path / "broken.json").write_bytes(content)
    with pytest.raises(DataError, match=r"broken.json: not valid JSON"):
        load(tmp_path / "broken.json")


@every_reader
def test_a_missing_file_is_named(tmp_path: Path, load) -> None:
    with pytest.raises(DataError, match=r"absent.json: no such file"):
        load(tmp_path / "absent.json")


def test_a_image_shows_every_subset_of_its_objects_and_nothing_else() -> None:
    image = ("red cube", "cyan sphere")
    assert shows(image, ["cyan sphere"])
    assert shows(image, ["cyan sphere", "red cube"])
    assert not shows(image, ["red cube", "red sphere"])


def test_a_condition_counts_as_seen_if_one_image_shows_all_of_it() -> None:
    labels = {"a": ("red cube", "gray cube", "cyan sphere"), "b": ("blue cube",)}
    asked = [("cyan sphere", "red cube"), ("blue cube",), ("blue cube", "red cube")]
    assert count_seen(asked, labels) == 2


@pytest.mark.parametrize(
    ("count", "expected"), [(6, "aabbcc"), (4, "aabc"), (2, "ab"), (1, "a")], ids=["6", "4", "2", "1"]
)
def test_every_label_comes_in_order_and_as_often_as_the_others(count: int, expected: str) -> None:
    assert every_label(("a", "b", "c"), count) == [(label,) for label in expected]


def test_without_labels_every_label_is_the_empty_condition() -> None:
    assert every_label((), 3) == [(), (), ()]


def test_a_condition_of_the_command_line_is_cut_at_its_commas_unless_it_is_a_label() -> None:
    assert parse_condition("red cube,  cyan sphere", OBJECTS) == ("red cube", "cyan sphere")
    assert parse_condition("hat, black", ("hat, black", "hat")) == ("hat, black",)
