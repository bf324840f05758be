"""Write a pipeline as a folder for the Hugging Face Hub, and push it. It loads even if lab_ddpm is not installed.

    pipe = DiffusionPipeline.from_pretrained(FOLDER, trust_remote_code=True)

diffusers takes a pipeline's class from `pipeline.py` next to `model_index.json`, and the class of a part from a file in
the part's folder. Here both files are the same: the pipeline and everything that it imports, in one file (`one_file`).
"""

from __future__ import annotations

import shutil
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from huggingface_hub import auth_check, create_repo, upload_folder

from lab_ddpm.diffusion.pipeline import LabelConditionalPipeline
from lab_ddpm.export.card import make_card
from lab_ddpm.export.one_file import one_file
from lab_ddpm.generation.checkpoint import find_checkpoint, load_pipeline
from lab_ddpm.tools.errors import DataError, UserError, first_line
from lab_ddpm.tools.files import atomic_path, read_json, write_json, write_text

_TITLE = "The pipeline of this folder, by `lab-ddpm export hub`: it needs diffusers and torchvision, but not lab_ddpm."
_MODULE = "pipeline"  # diffusers looks for a pipeline's class in a file of this name
_BESIDE = ("*.png", "config.yaml", "metrics.json", "metrics.jsonl")  # files that cards show or name


def export_hub(
    checkpoint: Path, out: Path, name: str | None = None, license: str | None = None, dataset: str | None = None
) -> None:
    """Write the folder `out` from the pipeline in `checkpoint`, with its card, and its scores in the card.

    Args:
        checkpoint: A pipeline's folder.
        out: A folder that does not exist yet.
        name: USER/NAME on the Hub, for the card; None means `out`.
        license: The license in the card, as the Hub names it ("mit" for example); None keeps that of the card of the
            checkpoint, if it has one.
        dataset: USER/NAME of the training data on the Hub, for the card; None keeps those of that card.

    Raises:
        DataError: `out` exists, or the pipeline is missing or broken.
    """
    if out.exists():
        raise DataError(f"{out}: already exists; choose a new folder")
    checkpoint = find_checkpoint(checkpoint)
    pipeline = load_pipeline(checkpoint)
    card = make_card(checkpoint, pipeline.denoiser, name or str(out), license, dataset)
    with atomic_path(out) as folder:
        for part in ("denoiser", "scheduler"):  # copied, not saved again, so that rounded weights do not change
            shutil.copytree(checkpoint / part, folder / part)
        source = one_file(_TITLE, LabelConditionalPipeline.__module__)
        for target in (folder, folder / "denoiser"):
            write_text(target / f"{_MODULE}.py", source)
        index: Any = read_json(checkpoint / "model_index.json")
        denoiser = [_MODULE, type(pipeline.denoiser).__name__]
        write_json(
            folder / "model_index.json",
            {**index, "_class_name": [_MODULE, LabelConditionalPipeline.__name__], "denoiser": denoiser},
        )
        for pattern in _BESIDE:
            for file in checkpoint.glob(pattern):
                shutil.copy(file, folder)
        card.save(folder / "README.md")


def check_push(name: str) -> None:
    """Create the repository USER/NAME on the Hub if it does not exist, and check that the user may write to it.

    Raises:
        UserError: The user may not, or is not logged in, or the Hub cannot be reached.
    """
    try:
        create_repo(name, exist_ok=True)
        auth_check(name, write=True)
    except Exception as error:  # without a connection, the errors are those of huggingface_hub's HTTP library
        raise UserError(
            f"`push_to_hub` must name a repository that you can write to, got {name!r} ({first_line(error)}); "
            "`hf auth login` logs you in"
        ) from None


def push_hub(checkpoint: Path, name: str, dataset: str | None = None) -> None:
    """Export a pipeline as `export_hub` does, and upload it to the repository USER/NAME, which exists.

    Raises:
        DataError: The pipeline is broken, or the upload failed.
    """
    with TemporaryDirectory() as temporary:
        folder = Path(temporary) / "hub"
        export_hub(checkpoint, folder, name, dataset=dataset)
        try:
            upload_folder(repo_id=name, folder_path=folder, commit_message="Upload by lab_ddpm")
        except Exception as error:  # as above
            raise DataError(
                f"{checkpoint}: is saved, but could not be pushed to {name} ({first_line(error)}); the same command "
                "again tries again"
            ) from None
