"""`generate`: pictures of a trained model, a grid and a manifest."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import torch
from accelerate import PartialState

from lab_ddpm.conditions import (
    OBJECTS,
    Condition,
    check_condition,
    decode,
    encode,
    every_label,
    load_conditions,
    parse_condition,
    resolve_split,
)
from lab_ddpm.errors import DataError, UserError, check_at_least
from lab_ddpm.figures import DenoisingRecorder, labelled_grid
from lab_ddpm.files import check_writable, read_json, remove, visible_files, write_json
from lab_ddpm.generation import generate, picture_seeds
from lab_ddpm.images import make_grid, write_png
from lab_ddpm.sampler import Sampler, open_sampler

_GRID_COLUMNS = 8
_DEFAULT_PICTURES = 64


def run(
    split: str | None,
    objects: Sequence[str] | None,
    num_pictures: int | None,
    unconditional: bool,
    checkpoint: Path | None,
    scheduler: str,
    steps: int,
    guidance_scale: float | None,
    seed: int,
    out: Path | None,
    progress: bool,
    root: Path,
) -> int:
    """Sample pictures, and write them, a grid and a manifest.

    What is sampled: one picture per condition of `split`; or `num_pictures` of `objects` (default 1), under no
    condition (`unconditional`, default 64), or else of all labels, each as often as the others (default 64). Without
    any of these, `test` for a model of i-CLEVR.
    """
    check_at_least("seed", seed, 0)
    if num_pictures is not None:
        check_at_least("num-pictures", num_pictures, 1)
        if split is not None:
            raise UserError("`--num-pictures` does not go with `--split`, which has one picture per condition")
    sampler = open_sampler(checkpoint, scheduler, steps, guidance_scale)
    if split is None and objects is None and num_pictures is None and not unconditional and sampler.labels == OBJECTS:
        split = "test"
    name, conditions = _wanted(sampler, split, objects, num_pictures, unconditional, root)
    out = out or Path("generated") / name
    check_writable(out)
    previous = _previous_files(out)
    labelled = [condition for condition in conditions if condition]
    rows = encode(labelled, sampler.labels) if labelled else torch.zeros(len(conditions), len(sampler.labels))
    seeds = picture_seeds(seed, len(conditions))
    T = sampler.pipeline.scheduler.config["num_train_timesteps"]
    recorder = DenoisingRecorder(num_train_timesteps=T) if progress else None
    guidance = sampler.guidance_scale if labelled else sampler.unguided()
    pictures = generate(sampler.pipeline, rows, seeds, steps, guidance, progress="sampling", callback=recorder)
    if not PartialState().is_main_process:
        return 0
    for file in previous:
        remove(file)
    files = [f"{index:02d}.png" for index in range(len(conditions))]
    for file, picture in zip(files, pictures, strict=True):
        write_png(out / file, picture)
    write_png(out / "grid.png", make_grid(pictures, min(_GRID_COLUMNS, len(pictures))))
    if labelled:
        captions = [", ".join(condition) for condition in conditions]
        write_png(out / "captioned.png", labelled_grid(pictures, captions, min(_GRID_COLUMNS, len(pictures))))
    common = {**sampler.settings(), "guidance_scale": guidance}
    entries = [
        {"file": file, "condition": list(condition), "seed": picture_seed, **common}
        for file, condition, picture_seed in zip(files, conditions, seeds, strict=True)
    ]
    write_json(out / "manifest.json", {"split": name, "pictures": entries})
    count = "1 picture" if len(pictures) == 1 else f"{len(pictures)} pictures"
    written = [count, "manifest.json", "grid.png"] + ["captioned.png"] * bool(labelled)
    if recorder is not None:
        recorder.write(out, conditions)
        written += ["strip.png", "denoising.gif"]
    print(f"wrote {', '.join(written)} to {out}/")
    return 0


def _wanted(
    sampler: Sampler,
    split: str | None,
    objects: Sequence[str] | None,
    num_pictures: int | None,
    unconditional: bool,
    root: Path,
) -> tuple[str, list[Condition]]:
    """The name of what is sampled, and a condition for each picture; empty conditions for the null label."""
    labels = sampler.labels
    if objects is not None:
        condition = tuple(name for words in objects for name in parse_condition(words, labels))
        check_condition(condition, labels)
        return "objects", [condition] * (num_pictures or 1)
    if split is not None:
        if not labels:
            raise UserError(f"`split` needs a model with labels, and {sampler.checkpoint} is unconditional")
        return Path(split).stem, load_conditions(resolve_split(split, root), labels)
    num_pictures = num_pictures or _DEFAULT_PICTURES
    if unconditional or not labels:
        return "unconditional", [()] * num_pictures
    return "labels", decode(every_label(len(labels), num_pictures), labels)


def _previous_files(out: Path) -> list[Path]:
    """What an earlier run wrote into this folder, which a shorter list or one without a strip would leave behind.

    Raises:
        DataError: The folder holds files of others, or a manifest.json of another program.
    """
    path = out / "manifest.json"
    if not path.is_file():
        if visible_files(out):
            raise DataError(f"{out}: holds files that this program did not write; choose another `--out`")
        return []
    try:
        names = [str(picture["file"]) for picture in cast(Any, read_json(path))["pictures"]]
    except (KeyError, TypeError):
        raise DataError(f"{path}: not as this program writes it; choose another `--out`") from None
    return [out / Path(name).name for name in [*names, "captioned.png", "strip.png", "denoising.gif"]]
