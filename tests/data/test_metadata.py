"""The label files of ImageFolder, read and written."""

import json
from pathlib import Path

import pytest

from lab_ddpm.data.image_folder import open_folder
from lab_ddpm.data.metadata import read_metadata, write_metadata
from lab_ddpm.tools.errors import DataError
from real_formats import write_folder

LABELS = {"0.png": ["dog"], "sub/1.png": ["hat", "dog"], "2.png": ["cat"]}


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Three images, one of them in a sub-folder, without a label file."""
    write_folder(tmp_path / "made")
    folder = tmp_path / "images"
    for name, made in zip(LABELS, sorted((tmp_path / "made").iterdir()), strict=False):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        made.rename(folder / name)
    return folder


def lines(labels: dict[str, list[str]], as_text: bool = False) -> str:
    entries = [
        {"labels": ", ".join(names) if as_text else names, "file_name": name, "width": 3}
        for name, names in labels.items()
    ]
    return "\n".join(map(json.dumps, entries)) + "\n\n"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("metadata.jsonl", lines(LABELS)),
        ("metadata.jsonl", lines(LABELS, as_text=True)),
        ("metadata.csv", 'file_name,size,labels\n2.png,3,cat\nsub/1.png,3,"hat, dog"\n0.png,3,dog\n'),
        ("metadata.csv", '\ufefffile_name,labels\r\n2.png,cat\r\nsub/1.png,"hat,dog"\r\n0.png,dog\r\n'),
    ],
    ids=["lists", "texts", "csv", "csv of a spreadsheet"],
)
def test_the_images_get_its_labels(images: Path, name: str, text: str) -> None:
    (images / name).write_text(text, encoding="utf-8", newline="")
    dataset = open_folder(images, 16)
    assert dataset.labels == ("cat", "dog", "hat")
    assert dataset.names == ["0.png", "2.png", "sub/1.png"]
    assert dataset.class_labels.tolist() == [[0, 1, 0], [1, 0, 0], [0, 1, 1]]


def test_what_is_written_is_read(tmp_path: Path) -> None:
    conditions = {"a.png": ("red cube", "cyan sphere"), "é.png": ("gray cube",)}
    write_metadata(tmp_path / "metadata.jsonl", conditions)
    assert read_metadata(tmp_path / "metadata.jsonl") == (conditions, [])


def test_only_a_line_break_ends_a_line(tmp_path: Path) -> None:
    path = tmp_path / "metadata.jsonl"
    path.write_text('{"file_name": "a.png", "labels": ["dog"], "caption": "one\u2028two"}\r\n', encoding="utf-8")
    assert read_metadata(path) == ({"a.png": ("dog",)}, [])


@pytest.mark.parametrize(
    ("name", "text", "named"),
    [
        ("metadata.jsonl", lines({**LABELS, "absent.png": ["dog"]}), "absent.png"),
        ("metadata.jsonl", lines({"0.png": ["dog"], "2.png": ["dog"]}), "sub/1.png"),
        ("metadata.jsonl", lines(LABELS) + lines({"0.png": ["cat"]}), "line 5"),
        ("metadata.jsonl", lines({**LABELS, "0.png": []}), "line 1: `labels`"),
        ("metadata.jsonl", lines({**LABELS, "0.png": ["a", "a"]}), "line 1: `labels`"),
        ("metadata.jsonl", "nonsense\n", "line 1"),
        ("metadata.jsonl", '{"file_name": "../0.png", "labels": ["a"]}', "`file_name`"),
        ("metadata.jsonl", "\n", "metadata.jsonl"),
        ("metadata.csv", "name,labels\n0.png,dog\n", "file_name"),
        ("metadata.csv", "file_name,labels\n0.png,dog,cat\n", "line 2"),
        ("metadata.csv", 'file_name,labels\n0.png,"dog\n' + "x" * 200_000, "line "),
    ],
)
def test_what_is_wrong_is_named(images: Path, name: str, text: str, named: str) -> None:
    (images / name).write_text(text, encoding="utf-8")
    with pytest.raises(DataError) as error:
        open_folder(images, 16)
    assert name in str(error.value)
    assert named in str(error.value)


def test_bytes_that_are_no_text_and_two_files_are_refused(images: Path) -> None:
    (images / "metadata.jsonl").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match=r"metadata\.jsonl"):
        open_folder(images, 16)
    (images / "metadata.csv").write_text("file_name,labels\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"metadata\.csv"):
        open_folder(images, 16)
