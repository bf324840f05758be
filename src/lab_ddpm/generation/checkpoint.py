"""Checkpoints: the pipelines on disk that the commands load, and which of them is taken where none is named.

A training leaves them in `runs/NAME/best` and `runs/NAME/last`, see `training.progress`.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from pathlib import Path

import diffusers
import torch
from huggingface_hub import snapshot_download
from safetensors import SafetensorError

from lab_ddpm.diffusion.denoiser import Denoiser
from lab_ddpm.diffusion.pipeline import LabelConditionalPipeline
from lab_ddpm.tools.checksums import SUMS
from lab_ddpm.tools.errors import DataError, first_line
from lab_ddpm.tools.files import sha256
from lab_ddpm.tools.shipped import find

PRETRAINED = Path("pretrained/iclevr-cpu")


def load_pipeline(path: str | Path) -> LabelConditionalPipeline:
    """Load a pipeline folder, in evaluation mode, with its own scheduler.

    Raises:
        DataError: The folder is missing, half-written or of another kind of model.
    """
    path = find_checkpoint(path)
    if not path.is_dir():
        raise DataError(f"{path}: no such checkpoint folder")
    index = path / "model_index.json"
    if not index.is_file():
        hint = f"; did you mean {path / 'best'}?" if (path / "best" / "model_index.json").is_file() else ""
        raise DataError(f"{path}: not a saved pipeline (it has no model_index.json){hint}")
    try:
        settings = json.loads(index.read_text(encoding="utf-8"))
        found = settings["_class_name"]
        found = found[-1] if isinstance(found, list) else found  # a list of a file and a class where `hub` wrote it
        if found != LabelConditionalPipeline.__name__:
            raise DataError(f"{path}: must hold a {LabelConditionalPipeline.__name__}, got a {found}")
        for part in ("denoiser", "scheduler"):
            if not (path / part).is_dir():
                raise DataError(f"{path}: this checkpoint is incomplete (it has no {part}/)")
        for config in (path / "denoiser" / "config.json", path / "scheduler" / "scheduler_config.json"):
            if not isinstance(json.loads(config.read_text(encoding="utf-8")), dict):
                raise DataError(f"{config}: must be a JSON object")
        denoiser = Denoiser.from_pretrained(path / "denoiser")
        name = settings["scheduler"][1]
        if not name.endswith("Scheduler"):
            raise DataError(f"{path}: its scheduler must be one of diffusers, got {name!r}")
        scheduler = getattr(diffusers, name).from_pretrained(path / "scheduler")
        own = {key: settings[key] for key in ("guidance_scale", "fit", "num_inference_steps", "guidance_stop")}
        denoiser.check_guidance(torch.ones(1, len(denoiser.labels)), None, own["guidance_scale"])
        return LabelConditionalPipeline(denoiser.eval(), scheduler, **own)
    except DataError:
        raise
    except (OSError, SafetensorError, RuntimeError, AttributeError, KeyError, TypeError, ValueError) as error:
        raise DataError(f"{path}: this checkpoint is broken or another model's ({first_line(error)})") from None


def find_checkpoint(path: str | Path | None) -> Path:
    """Where a pipeline's folder is; of USER/NAME that is none, the copy of what the Hugging Face Hub has of this name.

    No code from the Hub is run: only weights and settings are taken. None takes the default one.

    Raises:
        DataError: The Hub has no such pipeline, or cannot be reached; or there is no default one.
    """
    if path is None:
        return default_checkpoint()
    found = find(path)
    if found.exists() or found.parent.exists() or not re.fullmatch(r"[\w.-]+/[\w.-]+", str(path)):
        return found
    try:
        return Path(snapshot_download(str(path), allow_patterns=["model_index.json", "denoiser/*", "scheduler/*"]))
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: no such checkpoint folder, nor on the Hub ({first_line(error)})") from None


def default_checkpoint() -> Path:
    """The newest `runs/*/best`, else the shipped pipeline.

    Raises:
        DataError: There is neither.
    """
    best = [path for path in Path("runs").glob("*/best") if (path / "model_index.json").is_file()]
    if best:
        return max(best, key=lambda path: (path / "model_index.json").stat().st_mtime)
    if (find(PRETRAINED) / "model_index.json").is_file():
        return find(PRETRAINED)
    raise DataError(
        f"no checkpoint: {Path.cwd()} has no runs/*/best, and the package came without {PRETRAINED}; train one, or "
        "name one by --checkpoint"
    )


def checkpoint_hash(path: str | Path, parts: Sequence[str] = ("model_index.json", "scheduler", "denoiser")) -> str:
    """SHA-256 over the weights and settings of a pipeline folder, or parts of it; 16 hexadecimal digits."""
    digest = hashlib.sha256()
    for part in parts:
        entry = Path(path) / part
        for file in sorted(entry.iterdir()) if entry.is_dir() else [entry]:
            if file.name != SUMS:
                digest.update(file.name.encode() + bytes.fromhex(sha256(file)))
    return digest.hexdigest()[:16]
