"""What is said about a data set before it is used."""

from pathlib import Path

from PIL import Image

from lab_ddpm.data.image_folder import open_folder
from lab_ddpm.data.summary import summarize


def test_sizes_modes_labels_and_what_was_left_out_are_named(tmp_path: Path) -> None:
    for name, mode, width in (("rose/a", "RGB", 30), ("rose/b", "L", 20), ("Rose/c", "RGB", 20)):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.new(mode, (width, 10)).save(tmp_path / f"{name}.png")
    (tmp_path / "rose" / "Thumbs.db").touch()
    (tmp_path / "lily").mkdir()
    for _ in range(2):  # decoded, and from the cache
        first, labels, rarest, note, left_out = summarize(open_folder(tmp_path, 8), tmp_path).splitlines()
        assert "images: 3; width x height 20 to 30 x 10 to 10 (2 sizes); RGB 2, L 1" in first
        assert "2 labels" in labels
        assert "with 1: 3" in labels
        assert rarest.index("Rose 1") < rarest.index("rose 2")
        assert "['Rose', 'rose']" in note
        assert left_out.endswith("Thumbs.db (1), lily/ (1)")
