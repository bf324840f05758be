"""The summary that an import prints."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class ImportReport:
    """What an import did; `str()` makes it a summary to print.

    Attributes:
        source, out: The arguments of `import_data`.
        absent: Official files that are not in `source`.
        num_added: Images that this import added to `out/images`.
        num_images: Images in `out/images` now.
        files: Lists and checkpoint, by path: "added", "replaced" or "unchanged".
        seen: How many conditions of the list `unseen` occur in training images, and how many conditions it has; None
            if there are neither images nor `train.json`.
        missing: What training on the official data still needs.
        unopened: Zip files in `source`, which are not searched.
    """

    source: Path
    out: Path
    absent: list[str]
    num_added: int
    num_images: int
    files: dict[Path, str]
    seen: tuple[int, int] | None
    missing: list[str]
    unopened: list[Path]

    def __str__(self) -> str:
        absent = f"; it does not contain {', '.join(self.absent)}" if self.absent else ""
        lines = [f"checked {self.source}: no file is broken{absent}"]
        lines += [f"{self.out / 'images'}: {self.num_added} images added, {self.num_images} in all"]
        lines += [f"{path}: {what}" for path, what in self.files.items()]
        if self.seen is not None:
            seen, total = self.seen
            lines.append(f"{self.out / 'unseen.json'}: {seen} of its {total} conditions occur in train.json")
            if seen:
                lines.append("a model trained on these images has seen those conditions: do not report them as unseen")
        lines += [f"{path}: zip files in a folder are not searched; import it separately" for path in self.unopened]
        state = f"training still needs {' and '.join(self.missing)}" if self.missing else "ready for training"
        return "\n".join([*lines, f"{self.out}: {state}"])
