"""The masks of official images: found in the differences of images of which the true masks are known."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lab_ddpm.cli import main
from lab_ddpm.data.iclevr import OBJECTS
from lab_ddpm.data.labelled_images import open_labelled_images
from lab_ddpm.iclevr.official.masks import write_masks
from lab_ddpm.iclevr.replica.replica import render_replica
from lab_ddpm.tools.errors import DataError


@pytest.fixture(scope="module")
def replica(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("replica")
    render_replica(out, 4, seed=3, workers=2)
    return out


def read(folder: Path) -> dict[str, np.ndarray]:
    return {path.name: np.asarray(Image.open(path)) for path in sorted(folder.iterdir())}


def test_they_are_those_of_the_renderer_but_for_their_edges(replica: Path, capsys: pytest.CaptureFixture[str]) -> None:
    exact = read(replica / "masks")
    assert main(["find-masks", "--root", str(replica), "--check"]) == 0
    said = capsys.readouterr().out
    assert "mean of 24 objects: 0." in said
    (replica / "masks").rename(replica / "exact")
    assert main(["find-masks", "--root", str(replica), "--check"]) == 2
    assert main(["find-masks", "--root", str(replica)]) == 0
    assert f"wrote 12 masks to {replica / 'masks'}/" in capsys.readouterr().out
    found = read(replica / "masks")
    assert found.keys() == exact.keys()
    overlaps = [
        ((found[name] == place) & (mask == place)).sum() / ((found[name] == place) | (mask == place)).sum()
        for name, mask in exact.items()
        for place in np.unique(mask[mask > 0])
    ]
    assert len(overlaps) == 24
    assert np.mean(overlaps) > 0.7
    assert float(said.split("objects: ")[1].split()[0]) == pytest.approx(np.mean(overlaps), abs=0.05)
    assert open_labelled_images(replica, 16, OBJECTS, with_masks=True).masks is not None


def test_masks_that_are_there_stay_as_they_are(tiny_dataset: Path) -> None:
    by_hand, missing = sorted((tiny_dataset / "masks").iterdir())[:2]
    Image.new("L", (112, 84), 3).save(by_hand)
    content = by_hand.read_bytes()
    (tiny_dataset / "masks" / "notes.txt").write_text("made by hand", encoding="utf-8")
    missing.unlink()
    assert write_masks(tiny_dataset) == 1
    assert missing.is_file()
    assert by_hand.read_bytes() == content
    assert (tiny_dataset / "masks" / "notes.txt").is_file()


def test_images_that_are_no_steps_of_a_scene_are_named(tiny_dataset: Path) -> None:
    shutil.rmtree(tiny_dataset / "masks")
    labels = json.loads((tiny_dataset / "train.json").read_text(encoding="utf-8"))
    labels["CLEVR_train_000003_1.png"] = ["cyan cube", "red cube"]
    (tiny_dataset / "train.json").write_text(json.dumps(labels), encoding="utf-8")
    with pytest.raises(DataError, match=r"CLEVR_train_000003_1.png: must show one object more than the image before"):
        write_masks(tiny_dataset)
    assert {path.name for path in tiny_dataset.iterdir() if path.is_dir()} == {"images"}
