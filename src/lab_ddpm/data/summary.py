"""What was found in a data set, on one screen: most mistakes in a data set are seen there."""

from __future__ import annotations

import os
import textwrap
from collections import Counter, defaultdict
from pathlib import Path

from lab_ddpm.data.image_dataset import ImageDataset, Kinds
from lab_ddpm.tools.errors import shown
from lab_ddpm.tools.files import is_visible

_MOST_LABELS = 40
_WIDTH = 100


def summarize(images: ImageDataset, root: str | Path) -> str:
    """The images, their sizes and modes, their labels, and what was left out.

    Args:
        images: The opened data set.
        root: Its folder.
    """
    height, width = images.images.shape[1:3]
    kinds = _in_words(images.kinds)
    lines = [f"{root}: images: {len(images):,}; width x height {kinds}; read at {width} x {height} pixels"]
    if images.labels:
        in_image, of_label = images.class_labels.sum(dim=1), images.class_labels.sum(dim=0).long().tolist()
        counts = ", ".join(f"with {int(k)}: {n:,}" for k, n in sorted(Counter(in_image.tolist()).items()))
        lines.append(f"{len(images.labels)} labels; images {counts}")
        rarest = sorted(zip(of_label, images.labels, strict=True))
        more = f", and {len(rarest) - _MOST_LABELS} labels with more" if len(rarest) > _MOST_LABELS else ""
        text = ", ".join(f"{label} {count:,}" for count, label in rarest[:_MOST_LABELS]) + more
        lines += textwrap.wrap(f"rarest first: {text}", _WIDTH, initial_indent="  ", subsequent_indent="  ")
        spellings = defaultdict(list)
        for label in images.labels:
            spellings[label.casefold()].append(label)
        lines += [f"note: {same} are different labels" for same in spellings.values() if len(same) > 1]
    else:
        lines.append("no labels, or not used (see `data.conditional`)")
    if left_out := _left_out(Path(root)):
        names = ", ".join(f"{shown(name)} ({count:,})" for name, count in left_out.most_common(5))
        lines.append(f"left out (hidden files, files of the operating system, empty folders): {names}")
    return "\n".join(lines)


def _left_out(root: Path) -> Counter[str]:
    """The names of the files and folders that are not visible or empty, and how often each occurs."""
    found: Counter[str] = Counter()
    seen: set[str] = set()
    for folder, folders, files in os.walk(root, followlinks=True):
        real = os.path.realpath(folder)
        if real in seen:  # a link leads in a circle
            folders.clear()
            continue
        seen.add(real)
        if not (folders or files):
            found[f"{Path(folder).name}/"] += 1
        found.update(name.rpartition(":")[2] for name in files if not is_visible(name))
        found.update(f"{name}/" for name in folders if not is_visible(name) and name != ".cache")
        folders[:] = filter(is_visible, folders)
    return found


def _in_words(kinds: Kinds) -> str:
    widths, heights = zip(*(map(int, size.split(" x ")) for size in kinds.sizes), strict=True)
    spread = f"{min(widths)} x {min(heights)}"
    if len(kinds.sizes) > 1:
        spread = f"{min(widths)} to {max(widths)} x {min(heights)} to {max(heights)} ({len(kinds.sizes)} sizes)"
    return f"{spread}; {', '.join(f'{mode} {count:,}' for mode, count in Counter(kinds.modes).most_common())}"
