"""The vocabulary and the splits of i-CLEVR, and what is published about the official lists."""

from collections import Counter
from pathlib import Path

import pytest

from lab_ddpm.data.conditions import encode, load_conditions, load_labels, load_objects
from lab_ddpm.data.iclevr import COLOURS, OBJECTS, SHAPES, resolve_split
from lab_ddpm.iclevr.condition_lists import count_seen
from lab_ddpm.tools.errors import DataError, UserError

OFFICIAL = Path(__file__).parents[3] / "shared" / "iclevr_official"
needs_official = pytest.mark.skipif(not OFFICIAL.is_dir(), reason=f"the official files are not in {OFFICIAL}")


def test_an_object_has_the_index_8_times_shape_plus_colour() -> None:
    assert len(OBJECTS) == 24
    for shape_index, shape in enumerate(("cube", "sphere", "cylinder")):
        for colour_index, colour in enumerate(["gray", "red", "blue", "green", "brown", "purple", "cyan", "yellow"]):
            assert OBJECTS.index(f"{colour} {shape}") == 8 * shape_index + colour_index


def test_a_split_is_a_name_or_the_path_of_a_json_file(tmp_path: Path) -> None:
    for name in ("own.json", "val.json"):
        (tmp_path / name).write_text('[["red cube"]]', encoding="utf-8")
    assert resolve_split("val", tmp_path) == tmp_path / "val.json"
    assert resolve_split(str(tmp_path / "own.json"), tmp_path / "elsewhere") == tmp_path / "own.json"
    with pytest.raises(UserError, match=r"`split`.*'new_test'.*'tset'") as caught:
        resolve_split("tset", tmp_path)
    assert caught.value.exit_code == 2
    for absent in ("test", "absent.json"):
        with pytest.raises(DataError, match=absent):
            resolve_split(absent, tmp_path)


@needs_official
def test_the_official_vocabulary_is_ours() -> None:
    assert load_objects(OFFICIAL / "objects.json") == OBJECTS
    assert (len(COLOURS), len(SHAPES)) == (8, 3)


@needs_official
@pytest.mark.parametrize(
    ("name", "sizes", "seen"), [("test", {1: 6, 2: 12, 3: 14}, 31), ("new_test", {2: 12, 3: 20}, 32)]
)
def test_the_official_lists_have_their_published_counts(name: str, sizes: dict[int, int], seen: int) -> None:
    asked = load_conditions(OFFICIAL / f"{name}.json", OBJECTS)
    assert Counter(map(len, asked)) == sizes
    # "occur in train.json" in the README means as the whole of an image; as a part of one, all of them do
    labels = load_labels(OFFICIAL / "train.json", OBJECTS)
    images = {frozenset(objects) for objects in labels.values()}
    assert sum(frozenset(condition) in images for condition in asked) == seen
    assert count_seen(asked, labels) >= seen


@needs_official
def test_the_official_training_list_has_its_published_counts() -> None:
    labels = load_labels(OFFICIAL / "train.json", OBJECTS)
    assert len(labels) == 18_009
    assert len({frozenset(objects) for objects in labels.values()}) == 2_188
    per_object = encode(list(labels.values()), OBJECTS).sum(dim=0)
    assert (per_object.min(), per_object.max()) == (1_422, 1_577)
