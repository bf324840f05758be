"""The project's lists: the rule makes the committed files, in the official structure, and no two share a condition."""

from collections import Counter
from itertools import chain, combinations
from pathlib import Path

import pytest

from lab_ddpm.data.conditions import Condition, load_conditions, load_objects, shows
from lab_ddpm.data.iclevr import OBJECTS, SPLITS
from lab_ddpm.iclevr.condition_lists import count_seen, make_condition_lists, repeats_colour, write_condition_lists

DATA = Path(__file__).parents[2] / "data" / "iclevr"
has_official_data = (DATA / "train.json").is_file() and not (DATA / "replica.json").is_file()

Lists = dict[str, list[Condition]]


@pytest.fixture(scope="module")
def lists() -> Lists:
    return make_condition_lists()


@pytest.mark.skipif(has_official_data, reason=f"{DATA} has imported lists instead of the project's own")
def test_the_committed_files_are_what_the_rule_makes(lists: Lists) -> None:
    assert load_objects(DATA / "objects.json") == OBJECTS
    assert {name: load_conditions(DATA / f"{name}.json", OBJECTS) for name in SPLITS} == lists


def test_each_list_has_its_structure(lists: Lists) -> None:
    sizes = {name: dict(Counter(map(len, conditions))) for name, conditions in lists.items()}
    assert sizes == {
        "test": {1: 6, 2: 12, 3: 14},
        "new_test": {2: 12, 3: 20},
        "val": {1: 12, 2: 24, 3: 28},
        "new_val": {2: 12, 3: 52},
        "unseen": {2: 32, 3: 40},
        "many": {4: 32, 5: 32},
    }
    for name, expected in (("new_test", {2: 10, 3: 18}), ("new_val", {2: 8, 3: 48})):
        assert Counter(len(condition) for condition in lists[name] if repeats_colour(condition)) == expected
    assert not repeats_colour(["red cube", "gray cube", "blue cube"])


def test_no_two_lists_share_a_condition(lists: Lists) -> None:
    listed = [frozenset(condition) for condition in chain.from_iterable(lists.values())]
    assert len(set(listed)) == len(listed)


def test_unseen_combinations_are_balanced_and_in_no_other_list(lists: Lists) -> None:
    others = chain.from_iterable(lists[name] for name in lists if name != "unseen")
    assert not [condition for condition in others for hidden in lists["unseen"] if shows(condition, hidden)]
    pairs = {condition for condition in lists["unseen"] if len(condition) == 2}
    assert max(Counter(chain.from_iterable(pairs)).values()) <= 4
    triples = [condition for condition in lists["unseen"] if len(condition) == 3]
    assert not [triple for triple in triples if pairs & set(combinations(triple, 2))]  # unseen as a triple


def test_existing_files_are_kept(tmp_path: Path, lists: Lists) -> None:
    (tmp_path / "test.json").write_text('[["red cube"]]', encoding="utf-8")
    write_condition_lists(tmp_path)
    assert load_objects(tmp_path / "objects.json") == OBJECTS
    expected = lists | {"test": [("red cube",)]}
    assert {name: load_conditions(tmp_path / f"{name}.json", OBJECTS) for name in SPLITS} == expected


def test_a_condition_is_seen_if_an_image_shows_all_of_it() -> None:
    labels = {"a": ("red cube", "gray cube", "cyan sphere"), "b": ("blue cube",)}
    asked = [("cyan sphere", "red cube"), ("blue cube",), ("blue cube", "red cube")]
    assert count_seen(asked, labels) == 2
