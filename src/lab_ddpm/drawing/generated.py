"""A folder of generated images: the images, grids, a manifest that says how each was made, perhaps a strip."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from lab_ddpm.data.conditions import Condition
from lab_ddpm.data.images import image_grid, write_png
from lab_ddpm.drawing.figures import DenoisingRecorder, labelled_grid
from lab_ddpm.generation.sampler import Sampler, Samples
from lab_ddpm.tools.errors import DataError
from lab_ddpm.tools.files import check_writable, read_json, remove, visible_files, write_json

_GRID_COLUMNS = 8


class GeneratedFolder:
    """The folder `out`, which may hold what an earlier call wrote.

    Raises:
        DataError: It holds files of others, or a manifest.json of another program.
        OSError: It cannot be written.
    """

    def __init__(self, out: Path) -> None:
        check_writable(out)
        self.out, self._previous = out, _previous_files(out)

    def write(
        self,
        samples: Samples,
        conditions: Sequence[Condition],
        sampler: Sampler,
        name: str,
        recorder: DenoisingRecorder | None = None,
        details: Mapping[str, object] | None = None,
    ) -> str:
        """Write everything in the place of what was there; returns a line that says what.

        Args:
            samples: The images.
            conditions: Theirs; empty ones have no caption.
            sampler: That made them.
            name: Of the list of conditions, for the manifest.
            recorder: A callback of the sampling, for `strip.png` and `denoising.gif`.
            details: What else was asked for, for the manifest.
        """
        for file in self._previous:
            remove(file)
        images, columns = samples.images, min(_GRID_COLUMNS, len(samples.images))
        files = [f"{index:02d}.png" for index in range(len(images))]
        settings = sampler.settings(samples)
        entries = [
            {"file": file, "condition": list(condition), "seed": seed, **settings}
            for file, condition, seed in zip(files, conditions, samples.seeds, strict=True)
        ]
        # first, so that the next call knows the files of one that was killed
        write_json(self.out / "manifest.json", {"split": name, **(details or {}), "images": entries})
        for file, image in zip(files, images, strict=True):
            write_png(self.out / file, image)
        count = "1 image" if len(images) == 1 else f"{len(images)} images"
        written = [count, "manifest.json", "grid.png"]
        write_png(self.out / "grid.png", image_grid(images, columns))
        if any(conditions):
            captions = [", ".join(condition) for condition in conditions]
            write_png(self.out / "captioned.png", labelled_grid(images, captions, columns))
            written.append("captioned.png")
        if recorder is not None:
            recorder.write(self.out, conditions)
            written += ["strip.png", "denoising.gif"]
        return f"wrote {', '.join(written)} to {self.out}/"


def _previous_files(out: Path) -> list[Path]:
    """What an earlier call wrote, which a shorter list or one without a strip would leave behind."""
    path = out / "manifest.json"
    if not path.is_file():
        if visible_files(out):
            raise DataError(f"{out}: holds files that this program did not write; choose another `--out`")
        return []
    try:
        names = [str(image["file"]) for image in cast(Any, read_json(path))["images"]]
    except (KeyError, TypeError):
        raise DataError(f"{path}: not as this program writes it; choose another `--out`") from None
    return [out / Path(name).name for name in [*names, "captioned.png", "strip.png", "denoising.gif"]]
