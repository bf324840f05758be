"""Data sets in the formats of the Hugging Face Hub, without a network: images, labels, columns, and what is refused."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from conftest import save_tiny_pipeline, tiny_config
from lab_ddpm.cli import main
from lab_ddpm.data.hub_data import open_hub
from lab_ddpm.data.image_folder import open_folder
from lab_ddpm.data.open_dataset import open_held_out, open_training_images, short_name
from lab_ddpm.tools import extras
from lab_ddpm.tools.errors import DataError, UserError
from real_formats import write_folder

datasets = pytest.importorskip("datasets")
pyarrow, pyarrow_parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")

CLASS = datasets.ClassLabel(names=["cat", "dog", "fox"])
TEXT = datasets.Value("string")


@pytest.fixture(autouse=True)
def no_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The Hub is not asked, and its cache is a new one."""
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    datasets.disable_progress_bars()


def encoded(path: Path) -> dict[str, Any]:
    return {"bytes": path.read_bytes(), "path": path.name}


def make(tmp_path: Path, **columns: tuple[Any, list[Any]]) -> Any:
    """Six rows of the images of `write_folder`, with further columns of a feature and its values."""
    write_folder(tmp_path / "files")
    images = [encoded(path) for path in sorted((tmp_path / "files").iterdir())]
    features = {"picture": datasets.Image(), **{name: feature for name, (feature, _) in columns.items()}}
    values = {"picture": images, **{name: values for name, (_, values) in columns.items()}}
    return datasets.Dataset.from_dict(values, features=datasets.Features(features))


def parquet(dataset: Any, folder: Path, split: str = "train") -> Path:
    folder.mkdir(exist_ok=True)
    dataset.to_parquet(folder / f"{split}-00000-of-00001.parquet")
    return folder


def save(dataset: Any, folder: Path) -> Path:
    dataset.save_to_disk(folder)
    return folder


def save_splits(dataset: Any, folder: Path) -> Path:
    return save(datasets.DatasetDict(train=dataset, test=dataset), folder)


@pytest.mark.parametrize("write", [parquet, save, save_splits])
def test_the_images_are_those_of_a_folder_in_every_format(write: Callable[..., Path], tmp_path: Path) -> None:
    dataset = make(tmp_path, label=(CLASS, [0, 1, 0, 1, 1, 0]))
    root = write(dataset, tmp_path / "pets")
    opened = open_hub(root, 16)
    np.testing.assert_array_equal(opened.images, open_folder(tmp_path / "files", 16).images)
    assert opened.names == [f"train/{row}" for row in range(6)]
    assert opened.labels == ("cat", "dog", "fox")
    assert opened.class_labels.argmax(dim=1).tolist() == [0, 1, 0, 1, 1, 0]
    (cache,) = (root / ".cache").glob("*.npy")
    before = cache.stat().st_ino
    assert open_hub(root, 16).fingerprint() == opened.fingerprint()
    assert cache.stat().st_ino == before
    root.rename(tmp_path / "moved")
    assert open_hub(tmp_path / "moved", 16).fingerprint() == opened.fingerprint()


def test_rows_that_changed_are_decoded_anew(tmp_path: Path) -> None:
    dataset = make(tmp_path)
    before = open_hub(parquet(dataset, tmp_path / "pets"), 16)
    after = open_hub(parquet(dataset.select([1, 0, 2, 3, 4, 5]), tmp_path / "pets"), 16)
    np.testing.assert_array_equal(after.images[:2], before.images[1::-1])
    assert after.fingerprint() != before.fingerprint()
    assert len(list((tmp_path / "pets" / ".cache").glob("*.npy"))) == 1


def test_an_image_folder_with_its_classes_and_parts(tmp_path: Path) -> None:
    for part in ("train", "test"):
        write_folder(tmp_path / "pets" / part, ("dog", "cat"))
    opened, own = open_hub(tmp_path / "pets", 16), open_folder(tmp_path / "pets" / "train", 16)
    np.testing.assert_array_equal(opened.images, own.images)
    assert opened.labels == own.labels
    assert opened.class_labels.equal(own.class_labels)
    shutil.copy(tmp_path / "pets/train/cat/1.png", tmp_path / "pets/train/cat/3.png")
    assert open_hub(tmp_path / "pets", 16).fingerprint() != opened.fingerprint()
    assert open_held_out("hub", tmp_path / "pets", "test", 16).names[0] == "test/0"
    assert short_name("hub", "someone/pets") == short_name("hub", tmp_path / "pets") == "pets"


def test_a_classifier_is_not_trained_if_it_cannot_be_measured(tmp_path: Path) -> None:
    """Splits for competitions have class -1 everywhere."""
    root = parquet(make(tmp_path, label=(CLASS, [0, 1, 2, 0, 1, 2])), tmp_path / "pets")
    parquet(make(tmp_path, label=(CLASS, [-1] * 6)), root, "test")
    options = ["--root", str(root), "--held-out", "test", "--image-size", "16", "--out", str(tmp_path / "out")]
    assert main(["train-classifier", "--dataset", "hub", *options]) == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("feature", "values", "labels", "rows"),
    [
        (CLASS, [0, None, -1, 2, 0, 0], ("cat", "dog", "fox"), [[0], [], [], [2], [0], [0]]),
        (datasets.List(CLASS), [[0, 1], [], None, [2, 2], [-1], [0]], CLASS.names, [[0, 1], [], [], [2], [], [0]]),
        (TEXT, ["b, c", None, "", " a ", "a", "a"], ("a", "b, c"), [[1], [], [], [0], [0], [0]]),
        (datasets.List(TEXT), [["b", "a"], [], None, ["b"], [None], ["c"]], "abc", [[0, 1], [], [], [1], [], [2]]),
    ],
    ids=["class", "classes", "text", "texts"],
)
def test_labels_of_each_kind_and_missing_ones(
    tmp_path: Path, feature: Any, values: list[Any], labels: Any, rows: list[list[int]]
) -> None:
    opened = open_hub(save(make(tmp_path, label=(feature, values)), tmp_path / "pets"), 16, label_column="label")
    assert opened.labels == tuple(labels)
    assert [row.nonzero().flatten().tolist() for row in opened.class_labels] == rows


def test_columns_are_chosen_by_their_kind_or_named(tmp_path: Path) -> None:
    captions, numbers = (TEXT, list("abcabc")), (datasets.Value("int64"), [*range(6)])
    pets = save(make(tmp_path, caption=captions, id=numbers), tmp_path / "pets")
    assert open_hub(pets, 16).labels == ()  # a text is no label unless it is named
    assert open_hub(pets, 16, label_column="caption").labels == ("a", "b", "c")
    both = make(tmp_path, coarse=(CLASS, [0] * 6), fine=(CLASS, [1] * 6))
    both = save(
        datasets.concatenate_datasets([both, both.select_columns("picture").rename_column("picture", "mask")], axis=1),
        tmp_path / "both",
    )
    assert open_hub(both, 16, "mask", "fine").class_labels[:, 1].all()
    for root, options, names in (
        (both, {"label_column": "fine"}, ["`image_column`", "'mask'", "'picture'"]),
        (both, {"image_column": "mask"}, ["`label_column`", "'coarse'", "'fine'"]),
        (pets, {"image_column": "pictures"}, ["'picture'? `image_column`", "'caption'"]),
        (pets, {"label_column": "id"}, ["`label_column`", "'caption'"]),
        (pets, {"split": "test"}, ["`split`", "'train'"]),
        (pets, {"revision": "main"}, ["`revision`"]),
    ):
        with pytest.raises(UserError) as caught:
            open_hub(root, 16, **options)
        assert [name for name in names if name not in str(caught.value)] == [], str(caught.value)


def test_every_row_that_is_wrong_is_named(tmp_path: Path) -> None:
    right = make(tmp_path, label=(CLASS, [0] * 6))
    rows = right.data.to_pylist()
    rows[1]["label"] = 9
    rows[2]["picture"]["bytes"] = rows[2]["picture"]["bytes"][:40]
    rows[3]["picture"] = None
    rows[4]["picture"] = {"bytes": None, "path": "absent.png"}
    rows[5]["picture"]["bytes"] = b"no image"
    (tmp_path / "pets").mkdir()
    pyarrow_parquet.write_table(pyarrow.Table.from_pylist(rows, right.data.schema), tmp_path / "pets" / "train.parquet")
    with pytest.raises(DataError) as caught:
        open_hub(tmp_path / "pets", 16)
    lines = str(caught.value).splitlines()
    assert [line.split(": ")[1] for line in lines] == [f"train/{row}" for row in range(1, 6)]
    assert "0x" not in str(caught.value)  # no address of an object


def test_what_cannot_be_read_is_named_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "train.parquet").write_bytes(b"no parquet")
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "train.csv").write_text("a,b\n1,2\n", encoding="utf-8")
    empty = save(make(tmp_path).select([]), tmp_path / "empty")
    for root in (tmp_path / "absent", tmp_path / "bad", empty, "someone/absent"):
        with pytest.raises(DataError, match=str(root)) as caught:
            open_hub(root, 16)
        assert "\n" not in str(caught.value)
    with pytest.raises(DataError, match="column of images"):
        open_hub(tmp_path / "texts", 16)


def test_its_settings_reach_it_and_are_for_it_only(tmp_path: Path) -> None:
    root = parquet(make(tmp_path, caption=(TEXT, list("abcabc"))), tmp_path / "pets", "test")
    data = tiny_config(
        tmp_path, data__dataset="hub", data__root=root, data__split="test", data__label_column="caption"
    ).data
    images = open_training_images(data.dataset, data.root, 16, True, **data.hub_options)
    assert images.labels == ("a", "b", "c")
    for key in ("image_column", "label_column", "split", "revision"):
        with pytest.raises(UserError, match=f"`data.{key}`"):
            tiny_config(tmp_path, **{f"data__{key}": "x"})
    with pytest.raises(UserError, match="`with_masks`"):
        open_training_images("hub", root, 16, True, with_masks=True)


def test_a_classifier_and_scores_of_chosen_columns_and_splits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for split in ("train", "validation", "test"):
        parquet(make(tmp_path, caption=(TEXT, list("ababab")), other=(TEXT, [split] * 6)), tmp_path / "pets", split)
    chosen = ["--root", "pets", "--held-out", "test", "--data.label_column", "caption", "--data.split", "validation"]
    assert main(["train-classifier", "--dataset", "hub", "--epochs", "1", "--image-size", "32", *chosen]) == 0
    checkpoint = save_tiny_pipeline("runs/pets/best", 3, ("a", "b"))
    few = ["--steps", "1", "--num-images", "8", "--num-seeds", "1"]
    assert main(["evaluate", "--against", "hub", "--checkpoint", str(checkpoint), *chosen, *few]) == 0
    metrics = json.loads(Path("distances/metrics.json").read_text(encoding="utf-8"))
    assert metrics["conditional"]
    data = {"root": "pets", "held_out": "test", "label_column": "caption", "split": "validation"}
    assert metrics["data"] == {"against": "hub"} | data
    same = ["--checkpoint", str(checkpoint), *chosen, "--held-out", "validation", *few]
    assert main(["evaluate", "--against", "hub", *same]) == 2
    assert main(["train-classifier", "--dataset", "folder", *chosen]) == main(["evaluate", *chosen[-2:]]) == 2


def test_without_datasets_it_says_how_to_install_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extras, "find_spec", lambda _: None)
    with pytest.raises(UserError, match=r"pip install 'lab_ddpm\[hub\]'"):
        open_hub(tmp_path, 16)
