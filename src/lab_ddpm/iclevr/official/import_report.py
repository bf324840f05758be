"""What an import did, as a summary to print."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class ImportReport:
    """What an import did; `str()` of it is a summary to print.

    Attributes:
        source, out: As given to `import_data`.
        absent: What `source` has none of.
        num_added: Images that this import put into `out/images`.
        num_images: Images in `out/images` now.
        files: Lists and checkpoint, by place: "added", "replaced" or "unchanged".
        seen: How many conditions of `out/unseen.json` (of ours where there is none) some training image shows, and
            how many there are; None if this import did not concern the training images.
        missing: What training on the official data still lacks.
        unopened: Zip files in `source` that were not looked into.
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
        absent = f"; it has no {', '.join(self.absent)}" if self.absent else ""
        lines = [f"checked {self.source}: nothing in it is broken{absent}"]
        lines += [f"{self.out / 'images'}: {self.num_added} images added, {self.num_images} in all"]
        lines += [f"{path}: {what}" for path, what in self.files.items()]
        if self.seen is not None:
            seen, total = self.seen
            lines.append(f"{self.out / 'unseen.json'}: {seen} of its {total} conditions occur in train.json")
            if seen:
                lines.append("a model trained on these images has seen those: do not report them as unseen")
        lines += [f"{path}: not looked into; import it by its own name" for path in self.unopened]
        state = f"training still needs {' and '.join(self.missing)}" if self.missing else "ready for training"
        return "\n".join([*lines, f"{self.out}: {state}"])
