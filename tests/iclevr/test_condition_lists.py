"""The project's lists: the rule makes what is committed, in the official structure, and no two share any."""

from collections import Counter
from itertools import chain, combinations
from pathlib import Path

import pytest

from lab_ddpm.data.conditions import Condition, load_conditions, load_objects, shows
from lab_ddpm.data.iclevr import OBJECTS, SPLITS
from lab_ddpm.iclevr.condition_lists import make_condition_lists, repeats_colour, write_condition_lists

DATA = Path(__file__).parents[2] / "data" / "iclevr"
has_official_data = (DATA / "train.json").is_file() and not (DATA / "replica.json").is_file()

Lists = dict[str, list[Condition]]


@pytest.fixture(scope="module")
def lists() -> Lists:
    return make_condition_lists()


@pytest.mark.skipif(has_official_data, reason=f"{DATA} holds imported lists in place of the project's own")
def test_the_committed_files_are_what_the_rule_makes(lists: Lists) -> None:
    assert load_objects(DATA / "objects.json") == OBJECTS
    assert {name: load_conditions(DATA / f"{name}.json", OBJECTS) for name in SPLITS} == lists


@pytest.mark.parametrize(
    ("name", "sizes"),
    [
        ("test", {1: 6, 2: 12, 3: 14}),
        ("new_test", {2: 12, 3: 20}),
        ("val", {1: 12, 2: 24, 3: 28}),
        ("new_val", {2: 12, 3: 52}),
        ("unseen", {2: 32, 3: 40}),
        ("many", {4: 32, 5: 32}),
    ],
)
def test_each_list_has_its_sizes(lists: Lists, name: str, sizes: dict[int, int]) -> None:
    assert Counter(map(len, lists[name])) == sizes


def test_test_and_new_test_ask_for_as_many_objects_as_the_official_lists(lists: Lists) -> None:
    assert (len(lists["test"]), sum(map(len, lists["test"]))) == (32, 72)
    assert (len(lists["new_test"]), sum(map(len, lists["new_test"]))) == (32, 84)


def test_no_combination_is_listed_twice_in_one_list_or_in_two(lists: Lists) -> None:
    listed = [frozenset(condition) for condition in chain.from_iterable(lists.values())]
    assert len(set(listed)) == len(listed)


def test_nothing_but_unseen_contains_an_unseen_combination(lists: Lists) -> None:
    others = chain.from_iterable(lists[name] for name in lists if name != "unseen")
    assert not [c for c in others for hidden in lists["unseen"] if shows(c, hidden)]


def test_no_unseen_triple_is_unseen_for_a_pair_in_it_alone(lists: Lists) -> None:
    unseen = set(lists["unseen"])
    triples = [condition for condition in unseen if len(condition) == 3]
    assert not [triple for triple in triples if unseen & set(combinations(triple, 2))]


def test_no_object_is_in_more_than_four_unseen_pairs(lists: Lists) -> None:
    pairs = [condition for condition in lists["unseen"] if len(condition) == 2]
    assert max(Counter(chain.from_iterable(pairs)).values()) <= 4


@pytest.mark.parametrize(("name", "sizes"), [("new_test", {2: 10, 3: 18}), ("new_val", {2: 8, 3: 48})])
def test_the_new_lists_mostly_repeat_a_colour(lists: Lists, name: str, sizes: dict[int, int]) -> None:
    repeating = [condition for condition in lists[name] if repeats_colour(condition)]
    assert Counter(map(len, repeating)) == sizes


def test_repeating_a_colour_is_not_repeating_a_shape() -> None:
    assert repeats_colour(["red cube", "gray cube", "red sphere"])
    assert not repeats_colour(["red cube", "gray cube", "blue cube"])


def test_writing_keeps_the_files_that_are_there(tmp_path: Path, lists: Lists) -> None:
    (tmp_path / "test.json").write_text('[["red cube"]]', encoding="utf-8")
    write_condition_lists(tmp_path)
    assert load_objects(tmp_path / "objects.json") == OBJECTS
    assert {name: load_conditions(tmp_path / f"{name}.json", OBJECTS) for name in SPLITS} == {
        **lists,
        "test": [("red cube",)],
    }
