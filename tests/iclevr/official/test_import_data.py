"""Official material: whole, in parts, broken, hostile, interrupted, or in the way of other data."""

import io
import itertools
import json
import pickle
import stat
import zipfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from lab_ddpm.cli import main
from lab_ddpm.data.conditions import load_conditions, load_labels, load_objects
from lab_ddpm.data.iclevr import OBJECTS
from lab_ddpm.data.labelled_images import open_labelled_images
from lab_ddpm.evaluation.classifiers import build_classifier, load_classifier
from lab_ddpm.iclevr.official.import_data import import_data
from lab_ddpm.tools.errors import DataError
from lab_ddpm.tools.files import TEMPORARY_PREFIX
from lab_ddpm.training.config_parser import parse_config
from lab_ddpm.training.provide_images import provide_images

OFFICIAL = Path(__file__).parents[4] / "shared" / "iclevr_official"
NAMES = [f"CLEVR_train_{scene:06d}_{step}.png" for scene in range(2) for step in range(3)]
LABELS = {name: list(OBJECTS[: 1 + number % 3]) for number, name in enumerate(NAMES)}
LISTS = {
    "objects.json": {name: index for index, name in enumerate(OBJECTS)},
    "test.json": [["red cube"], ["gray cube", "cyan sphere"]],
    "new_test.json": [["blue cube", "blue sphere"]],
    "train.json": LABELS,
}


def png(seed: int) -> bytes:
    noise = np.random.default_rng(seed).integers(0, 256, (24, 32, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noise).save(buffer, format="PNG")
    return buffer.getvalue()


IMAGES = {f"iclevr/{name}": png(number) for number, name in enumerate(NAMES)}
TEXTS = {f"lab/file/{name}": json.dumps(content).encode() for name, content in LISTS.items()}
JUNK = {
    "__MACOSX/iclevr/._" + NAMES[0]: b"?",
    "iclevr/.DS_Store": b"?",
    "lab/file/evaluator.py": b"raise SystemExit",
}
MATERIAL = IMAGES | TEXTS | JUNK


def write_folder(folder: Path, material: dict[str, bytes]) -> Path:
    for name, content in material.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def write_linked(folder: Path, material: dict[str, bytes]) -> Path:
    """A folder whose iclevr/ is a link."""
    write_folder(folder, material)
    (folder / "iclevr").rename(folder.with_name("disk"))
    (folder / "iclevr").symlink_to("../disk")
    return folder


def write_zip(path: Path, material: dict[str, bytes]) -> Path:
    path.parent.mkdir(exist_ok=True)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in material.items():
            archive.writestr(name, content)
    return path


def snapshot(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def refuse(source: Path, out: Path) -> str:
    """The message of an import that is refused, and that leaves no trace."""
    before, existed = snapshot(out), out.exists()
    with pytest.raises(DataError) as refusal:
        import_data(source, out, out / "evaluator")
    assert snapshot(out) == before
    assert out.exists() == existed
    return str(refusal.value)


@pytest.mark.parametrize("write", [write_folder, write_linked, write_zip])
def test_everything_at_once_and_a_second_time(write: Callable[..., Path], tmp_path: Path) -> None:
    source, out = write(tmp_path / "material.zip", MATERIAL), tmp_path / "data" / "iclevr"
    report = import_data(source, out, tmp_path / "evaluator")
    assert len(open_labelled_images(out, 16, OBJECTS)) == len(NAMES)
    assert {path.name for path in out.iterdir()} == {"images", ".cache", *LISTS}
    assert all((out / "images" / Path(name).name).read_bytes() == content for name, content in IMAGES.items())
    assert (report.num_added, report.missing) == (6, [])
    assert set(report.files.values()) == {"added"}
    assert all(source.is_file() or (source / name).is_file() for name in MATERIAL)  # copied, not moved
    before = snapshot(out)
    for again in (source, out):  # also files that were put there by hand
        report = import_data(again, out, tmp_path / "evaluator")
        assert (report.num_added, set(report.files.values())) == (0, {"unchanged"})
    assert snapshot(out) == before


def test_parts_add_up_in_either_order(tmp_path: Path) -> None:
    parts = {
        "images": write_zip(tmp_path / "a.zip", IMAGES),
        "lists": write_folder(tmp_path / "b", TEXTS),
    }
    for order in itertools.permutations(parts):
        out = tmp_path / order[0]
        assert len(import_data(parts[order[0]], out, tmp_path / "evaluator").missing) == 1
        assert import_data(parts[order[1]], out, tmp_path / "evaluator").missing == []
        assert len(open_labelled_images(out, 16, OBJECTS)) == len(NAMES)


def test_official_lists_replace_ours_and_others_are_kept(tmp_path: Path) -> None:
    source, out = write_folder(tmp_path / "source", MATERIAL), tmp_path / "out"
    ours = {"test.json": b'[["cyan cube"]]', "val.json": b"[]", "unseen.json": b'[["gray cube"], ["cyan cube"]]'}
    write_folder(out, ours)
    report = import_data(source, out, tmp_path / "evaluator")
    assert report.files[out / "test.json"] == "replaced"
    assert (out / "test.json").read_bytes() == TEXTS["lab/file/test.json"]
    assert (out / "val.json").read_bytes() == ours["val.json"]
    assert "does not contain checkpoint.pth\n" in report.text


def test_the_command_adds_the_other_lists_and_the_masks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    command = ["import-data", str(write_folder(tmp_path / "course", MATERIAL)), "--out", "data/official"]
    assert main(command) == 0
    out = Path("data/official")
    assert {path.name for path in (out / "masks").iterdir()} == {*NAMES}
    provide_images(parse_config(["--data.root", "data/official"]))  # refuses data without a list to choose by
    assert load_conditions(out / "test.json", OBJECTS) == [("red cube",), ("gray cube", "cyan sphere")]
    for name in ("val", "new_val", "unseen", "many"):
        assert load_conditions(out / f"{name}.json", OBJECTS)
    Image.new("L", (112, 84), 3).save(out / "masks" / NAMES[0])
    (out / "masks" / NAMES[1]).unlink()
    before = (out / "masks" / NAMES[0]).read_bytes()
    assert main(command) == 0  # only adds what is missing
    assert (out / "masks" / NAMES[0]).read_bytes() == before
    assert (out / "masks" / NAMES[1]).is_file()


def test_images_that_are_not_steps_of_scenes_are_imported_without_masks(tmp_path: Path) -> None:
    labels = {"lab/file/train.json": json.dumps(LABELS | {NAMES[1]: ["cyan cube"]}).encode()}
    out = tmp_path / "out"
    assert main(["import-data", str(write_folder(tmp_path / "course", MATERIAL | labels)), "--out", str(out)]) == 0
    assert len(open_labelled_images(out, 16, OBJECTS)) == len(NAMES)
    assert not (out / "masks").exists()


def test_everything_that_is_wrong_is_named_at_once(tmp_path: Path) -> None:
    broken, cut, missing, extra = NAMES[0], NAMES[1], NAMES[2], "CLEVR_train_000009_0.png"
    material = MATERIAL | {
        f"iclevr/{broken}": b"no image",
        f"iclevr/{cut}": png(1)[:-500],
        f"iclevr/{extra}": png(9),
        "lab/file/test.json": b'[["pink cube"]]',
        "lab/file/objects.json": json.dumps({name: 23 - i for i, name in enumerate(OBJECTS)}).encode(),
        "lab/file/checkpoint.pth": pickle.dumps({"model": Trap(tmp_path / "ran")}),
    }
    del material[f"iclevr/{missing}"]
    for source in (write_folder(tmp_path / "source", material), write_zip(tmp_path / "source.zip", material)):
        message = refuse(source, tmp_path / "out")
        for name in (broken, cut, missing, extra, "pink cube", "objects.json", "checkpoint.pth"):
            assert name in message
        assert TEMPORARY_PREFIX not in message
        assert NAMES[4] not in message
    assert not (tmp_path / "ran").exists()


class Trap:
    """Creates a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


def test_lists_are_checked_against_images_in_place(tmp_path: Path) -> None:
    import_data(write_folder(tmp_path / "a", IMAGES), tmp_path / "out", tmp_path / "evaluator")
    shorter = {"train.json": json.dumps({name: LABELS[name] for name in NAMES[1:]}).encode()}
    assert NAMES[0] in refuse(write_folder(tmp_path / "b", shorter), tmp_path / "out")
    broken = write_folder(tmp_path / "c", {"train.json": b'{"../a.png": ["red cube"]}'})
    assert str(broken / "train.json") in refuse(broken, tmp_path / "out")


def test_other_data_in_place_is_never_mixed_or_overwritten(tmp_path: Path) -> None:
    source = write_folder(tmp_path / "source", MATERIAL)
    out = write_folder(tmp_path / "out", {f"images/{NAMES[0]}": png(99)})
    assert "--out" in refuse(source, out)
    labelled = tmp_path / "labelled"
    import_data(source, labelled, tmp_path / "evaluator")
    relabelled = {"train.json": json.dumps(LABELS | {NAMES[0]: ["cyan cube"]}).encode()}
    assert str(labelled / "train.json") in refuse(write_folder(tmp_path / "relabelled", relabelled), labelled)


def test_a_replica_is_not_mixed_but_takes_lists(tmp_path: Path) -> None:
    out = write_folder(tmp_path / "out", {"replica.json": b"{}", "images/CLEVR_train_000000_0.png": png(99)})
    for number, material in enumerate([IMAGES, {"train.json": TEXTS["lab/file/train.json"]}]):
        assert "replica" in refuse(write_folder(tmp_path / f"source{number}", material), out)
    source = write_folder(tmp_path / "lists", {"test.json": TEXTS["lab/file/test.json"]})
    assert import_data(source, out, tmp_path / "evaluator").files == {out / "test.json": "added"}


def test_a_killed_import_is_completed(tmp_path: Path) -> None:
    source, out = write_folder(tmp_path / "source", MATERIAL), tmp_path / "out"
    staging = f"{TEMPORARY_PREFIX}import"
    write_folder(out, {f"{staging}/images/{NAMES[0]}": png(0)[:50], f"{staging}/test.json": b"["})
    write_folder(out, {f"images/{NAMES[1]}": png(1)})  # moved before the kill
    assert import_data(source, out, tmp_path / "evaluator").num_added == 5
    assert not (out / staging).exists()
    assert len(open_labelled_images(out, 16, OBJECTS)) == len(NAMES)


def test_members_of_a_zip_with_hostile_paths_are_written_nowhere_else(tmp_path: Path) -> None:
    source, link = write_zip(tmp_path / "a" / "material.zip", MATERIAL), zipfile.ZipInfo("link")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(source, "a") as archive:
        archive.writestr(link, "/etc")
        for name in ("../x.png", "/tmp/x.png", "C:\\x.png", f"a/../../../{NAMES[0]}"):
            archive.writestr(name, png(0))
    import_data(source, tmp_path / "a" / "out", tmp_path / "a" / "evaluator")
    assert len(open_labelled_images(tmp_path / "a" / "out", 16, OBJECTS)) == len(NAMES)
    assert list(tmp_path.iterdir()) == [tmp_path / "a"]
    assert {path.name for path in (tmp_path / "a").iterdir()} == {"material.zip", "out"}


def test_a_truncated_or_damaged_zip_is_named(tmp_path: Path) -> None:
    content = write_zip(tmp_path / "whole.zip", MATERIAL).read_bytes()
    (tmp_path / "cut.zip").write_bytes(content[: len(content) // 2])
    assert "cut.zip" in refuse(tmp_path / "cut.zip", tmp_path / "out")
    middle = content.index(b"IDAT") + 200
    (tmp_path / "flipped.zip").write_bytes(content[:middle] + b"????" + content[middle + 4 :])
    assert NAMES[0] in refuse(tmp_path / "flipped.zip", tmp_path / "out")


def test_wrong_sources(tmp_path: Path) -> None:
    assert "nothing" in refuse(tmp_path / "nothing", tmp_path / "out")
    write_zip(tmp_path / "iclevr.zip", IMAGES).rename(write_folder(tmp_path / "empty", {"x": b""}) / "iclevr.zip")
    assert "zip" in refuse(tmp_path / "empty", tmp_path / "out")


def test_two_files_of_one_name_must_be_equal(tmp_path: Path) -> None:
    source = write_folder(tmp_path / "source", MATERIAL | {f"copy/{NAMES[0]}": png(0)})
    assert import_data(source, tmp_path / "first", tmp_path / "evaluator").num_added == len(NAMES)
    write_folder(source, {f"copy/{NAMES[0]}": png(7)})
    assert str(source / "copy" / NAMES[0]) in refuse(source, tmp_path / "out")


def test_the_classifier_checkpoint(tmp_path: Path) -> None:
    source, evaluator = tmp_path / "source", tmp_path / "evaluator"
    source.mkdir()
    torch.save({"model": build_classifier("resnet18", len(OBJECTS)).state_dict()}, source / "checkpoint.pth")
    report = import_data(source, tmp_path / "out", evaluator)
    assert report.files == {evaluator / "checkpoint.pth": "added"}
    load_classifier(evaluator / "checkpoint.pth", OBJECTS)
    write_folder(tmp_path / "out", {"evaluator/checkpoint.pth": b"another"})
    assert "checkpoint.pth" in refuse(source, tmp_path / "out")


@pytest.mark.skipif(not OFFICIAL.is_dir(), reason=f"the official lists are not in {OFFICIAL}")
def test_the_official_lists(tmp_path: Path) -> None:
    out = tmp_path / "out"
    report = import_data(OFFICIAL, out, tmp_path / "evaluator")
    assert {path.name for path in report.files} == set(LISTS)
    assert report.missing == ["the images"]
    assert load_objects(out / "objects.json") == OBJECTS
    labels = load_labels(out / "train.json", OBJECTS)
    assert (len(labels), len(set(map(frozenset, labels.values())))) == (18_009, 2_188)
    test, new_test = load_conditions(out / "test.json", OBJECTS), load_conditions(out / "new_test.json", OBJECTS)
    assert Counter(map(len, test)) == {1: 6, 2: 12, 3: 14}
    assert Counter(map(len, new_test)) == {2: 12, 3: 20}
