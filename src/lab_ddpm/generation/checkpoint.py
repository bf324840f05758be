"""Checkpoints: the pipelines on disk that the commands load, and the default checkpoint.

Training writes them to `runs/NAME/best` and `runs/NAME/last`, see `training.run_folder`.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import diffusers
import torch
from huggingface_hub import snapshot_download
from safetensors import SafetensorError

from lab_ddpm.diffusion.denoiser import Denoiser
from lab_ddpm.diffusion.pipeline import LabelConditionalPipeline
from lab_ddpm.diffusion.sampling import sampling_timesteps
from lab_ddpm.generation.onnx_runtime import can_run_onnx, open_onnx
from lab_ddpm.tools.checksums import SUMS
from lab_ddpm.tools.errors import DataError, UserError, check_choice, first_line
from lab_ddpm.tools.files import sha256
from lab_ddpm.tools.hardware import computes_in_bf16, this_process
from lab_ddpm.tools.shipped import find_shipped

PRETRAINED = Path("pretrained/iclevr-cpu")
_RUNTIME_NAMES = {"torch": "", "bf16": ", in bfloat16", "onnx": ", on ONNX Runtime"}
RUNTIMES = ("auto", *_RUNTIME_NAMES)


def open_pipeline(
    checkpoint: str | Path | None,
    scheduler: str | None = None,
    steps: int | None = None,
    guidance_scale: float | None = None,
    runtime: str = "auto",
) -> LabelConditionalPipeline:
    """Load a checkpoint and print which one it is.

    Args:
        checkpoint: Folder of a pipeline; None means the default checkpoint.
        scheduler, steps, guidance_scale: See `Sampling`; None keeps the checkpoint's own.
        runtime: What runs the network: "torch", in float32; "bf16", torch in bfloat16; "onnx", on the CPU, from the
            file that `export onnx` writes; or "auto", the fastest of them that this machine has. A model that does not
            predict the clean sample runs in float32, because its rounding errors would be divided by a weak signal.

    Raises:
        UserError: An unknown scheduler or runtime, one that does not fit the model, a number out of range, or ONNX
            Runtime is not installed.
        DataError: The checkpoint is missing or broken.
    """
    check_choice("runtime", runtime, RUNTIMES)
    checkpoint = find_checkpoint(checkpoint)
    pipeline = load_pipeline(checkpoint).with_sampling(scheduler, steps, guidance_scale)
    if runtime != "onnx":
        pipeline.to(this_process().device)
    fits_bf16 = pipeline.denoiser.config["prediction_type"] == "sample"
    if runtime == "bf16" and not fits_bf16:
        raise UserError("`runtime` must not be 'bf16' for a model that does not predict the clean sample")
    if runtime == "auto" and fits_bf16 and computes_in_bf16(pipeline.device):
        runtime = "bf16"
    elif runtime == "auto":
        runtime = "onnx" if can_run_onnx(checkpoint, pipeline.device) else "torch"
    if runtime == "bf16":
        half: Any = {"dtype": torch.bfloat16, "memory_format": torch.channels_last}
        torch.nn.Module.to(pipeline.denoiser, **half)  # diffusers' own `to` warns
    elif runtime == "onnx":
        pipeline.denoiser.forward = open_onnx(checkpoint, checkpoint_hash(checkpoint, ["denoiser"]))
    if this_process().is_main_process:
        print(f"checkpoint: {checkpoint}{_RUNTIME_NAMES[runtime]}")
    return pipeline


def load_pipeline(path: str | Path) -> LabelConditionalPipeline:
    """Load a pipeline folder, in evaluation mode and with its own sampling.

    Raises:
        DataError: The folder is missing or incomplete, or holds another kind of model.
    """
    path = find_checkpoint(path)
    if not path.is_dir():
        raise DataError(f"{path}: no such checkpoint folder")
    for file in ("model_index.json", "denoiser/config.json", "scheduler/scheduler_config.json"):
        if not (path / file).is_file():
            hint = f"; did you mean {path / 'best'}?" if (path / "best" / file).is_file() else ""
            raise DataError(f"{path}: not a saved pipeline (it has no {file}){hint}")
    try:
        settings = json.loads((path / "model_index.json").read_text(encoding="utf-8"))
        denoiser = Denoiser.from_pretrained(path / "denoiser", local_files_only=True)
        scheduler_class = getattr(diffusers, settings["scheduler"][1])
        scheduler = scheduler_class.from_pretrained(path / "scheduler", local_files_only=True)
        own = {key: settings[key] for key in ("num_inference_steps", "guidance_scale", "fit")}
        pipeline = LabelConditionalPipeline(denoiser.eval(), scheduler, **own)
        sampling_timesteps(pipeline.sampling, denoiser)  # refuses a sampling that does not fit
    except DataError:
        raise
    except (OSError, SafetensorError, RuntimeError, AttributeError, KeyError, TypeError, ValueError) as error:
        raise DataError(f"{path}: this checkpoint is broken or another model's ({first_line(error)})") from None
    pipeline.checkpoint = path
    return pipeline


def find_checkpoint(path: str | Path | None) -> Path:
    """The folder of a pipeline; None means the default checkpoint.

    If USER/NAME is not a folder, it is downloaded from the Hugging Face Hub: only weights and settings, never code.

    Raises:
        DataError: The Hub has no such pipeline or cannot be reached, or there is no default checkpoint.
    """
    if path is None:
        return default_checkpoint()
    found = find_shipped(path)
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
    if (find_shipped(PRETRAINED) / "model_index.json").is_file():
        return find_shipped(PRETRAINED)
    raise DataError(
        f"no checkpoint: {Path.cwd()} has no runs/*/best, and the package has no {PRETRAINED}; train a model, or name "
        "one with --checkpoint"
    )


def checkpoint_hash(path: str | Path, parts: Sequence[str] = ("model_index.json", "scheduler", "denoiser")) -> str:
    """SHA-256 of the weights and settings of a pipeline folder, or of parts of it; 16 hexadecimal digits."""
    digest = hashlib.sha256()
    for part in parts:
        entry = Path(path) / part
        for file in sorted(entry.iterdir()) if entry.is_dir() else [entry]:
            if file.name != SUMS:
                digest.update(file.name.encode() + bytes.fromhex(sha256(file)))
    return digest.hexdigest()[:16]
