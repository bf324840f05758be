"""A folder of generated images: the images, grids, and a manifest that says how each was made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from lab_ddpm.data.conditions import Condition
from lab_ddpm.data.images import image_grid, write_png
from lab_ddpm.diffusion.pipeline import LabelConditionalPipeline
from lab_ddpm.drawing.figures import DenoisingRecorder, labelled_grid
from lab_ddpm.generation.generate import GeneratedImages
from lab_ddpm.generation.manifest import MANIFEST, read_manifest, write_manifest
from lab_ddpm.tools.errors import DataError
from lab_ddpm.tools.files import check_writable, visible_files

_GRID_COLUMNS = 8


class GeneratedFolder:
    """A folder to write to. It may hold the files of an earlier call, which are replaced.

    Raises:
        DataError: It holds other files, or the manifest.json of another program.
        OSError: It cannot be written.
    """

    def __init__(self, out: Path) -> None:
        check_writable(out)
        self.out, manifest = out, read_manifest(out)
        if manifest is None and visible_files(out):
            raise DataError(f"{out}: holds files of another program; choose another `--out`")
        names = [entry["file"] for entry in manifest["images"]] if manifest else []
        # to delete: a call with fewer images would leave some of them
        self._previous = [out / name for name in [*names, "captioned.png", "strip.png", "denoising.gif"]]

    def write(
        self,
        generated: GeneratedImages,
        conditions: Sequence[Condition],
        pipeline: LabelConditionalPipeline,
        name: str,
        recorder: DenoisingRecorder | None = None,
        details: Mapping[str, object] | None = None,
    ) -> str:
        """Replace what was there; returns a line that says what was written.

        Args:
            generated: The images.
            conditions: One per image; an empty one gives no caption.
            pipeline: The pipeline that made the images.
            name: Name of the list of conditions, for the manifest.
            recorder: The recorder that watched the sampling; writes `strip.png` and `denoising.gif`.
            details: Other options, for the manifest.
        """
        for file in self._previous:
            file.unlink(missing_ok=True)
        images, columns = generated.images, min(_GRID_COLUMNS, len(generated.images))
        files = [f"{index:02d}.png" for index in range(len(images))]
        # first, so that the next call knows the files even if this one is killed
        write_manifest(self.out, name, files, conditions, generated, pipeline, details or {})
        for file, image in zip(files, images, strict=True):
            write_png(self.out / file, image)
        count = "1 image" if len(images) == 1 else f"{len(images)} images"
        written = [count, MANIFEST, "grid.png"]
        write_png(self.out / "grid.png", image_grid(images, columns))
        if any(conditions):
            captions = [", ".join(condition) for condition in conditions]
            write_png(self.out / "captioned.png", labelled_grid(images, captions, columns))
            written.append("captioned.png")
        if recorder is not None:
            recorder.write(self.out, conditions)
            written += ["strip.png", "denoising.gif"]
        return f"wrote {', '.join(written)} to {self.out}/"
