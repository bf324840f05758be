"""How far a run is, and the pipelines that it leaves.

runs/NAME/states/step_0000500/        what the run goes on from, see `state`
runs/NAME/pipelines/step_0000500/     a pipeline that `from_pretrained` loads, written at each evaluation
runs/NAME/best -> pipelines/...       symbolic links, replaced in one atomic step
runs/NAME/last -> pipelines/...
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from lab_ddpm.diffusion.pipeline import LabelConditionalPipeline
from lab_ddpm.tools.errors import DataError, first_line
from lab_ddpm.tools.files import atomic_path, link_atomically, read_json, remove, write_json


@dataclass
class Progress:
    """How far a run is.

    Attributes:
        step: Optimizer steps done.
        seconds: Wall time spent on them, evaluations included, over all starts of the run.
        scores: What each evaluated pipeline is worth, by step; more is better.
        data: Fingerprint of the images and labels.
        metric: What the scores are, as `selection` names it; empty for a run that has not begun.
        classifier: Hash of the file of the classifier that they are by; empty for none.
    """

    step: int = 0
    seconds: float = 0.0
    scores: dict[int, float] = field(default_factory=dict)
    data: str = ""
    metric: str = ""
    classifier: str = ""

    def best_steps(self, count: int) -> list[int]:
        """The steps of the `count` best pipelines, best first; of equal ones the later comes first."""
        return sorted(self.scores, key=lambda step: (self.scores[step], step), reverse=True)[:count]


def write_progress(state: Path, progress: Progress) -> None:
    """Write `progress.json` into a folder of `states/`, with a checksum of its own."""
    content = asdict(progress)
    write_json(state / "progress.json", {**content, "sha256": _digest(content)})


def read_progress(state: Path) -> Progress:
    """The progress in a folder of `states/`.

    Raises:
        DataError: It is missing or damaged.
    """
    content: Any = read_json(state / "progress.json")
    try:
        digest = content.pop("sha256")
        if digest != _digest(content):
            raise ValueError("not what was written: damaged, or changed since")
        progress = Progress(**content)
        progress.scores = {int(step): score for step, score in progress.scores.items()}
    except (TypeError, ValueError, AttributeError, KeyError) as error:
        raise DataError(f"{state / 'progress.json'}: no progress of a run ({first_line(error)})") from None
    return progress


def _digest(content: dict[str, Any]) -> str:
    """Of the content as JSON gives it back: with text for the steps of the scores."""
    return hashlib.sha256(json.dumps(json.loads(json.dumps(content)), sort_keys=True).encode()).hexdigest()


def step_name(step: int) -> str:
    """Folder name of a step; names sort like numbers."""
    return f"step_{step:07d}"


def save_pipeline(pipeline: LabelConditionalPipeline, run: Path, step: int) -> None:
    """Write `run/pipelines/step_N`, in the place of what a run that was stopped before its state left there."""
    target = run / "pipelines" / step_name(step)
    remove(target)
    with atomic_path(target) as temporary:
        pipeline.save_pretrained(temporary)


def keep_pipelines(run: Path, progress: Progress, keep: int) -> None:
    """Point last/ and best/ at pipelines that `progress` knows of; then delete those that no state needs.

    To be called when `progress` is in a state. A run that goes on from the one before still finds its best.

    Args:
        run: Folder of the run.
        progress: With the score of every evaluation.
        keep: How many of the best pipelines stay; the last one stays in any case.
    """
    folder = run / "pipelines"
    if progress.scores:
        link_atomically(folder / step_name(max(progress.scores)), run / "last")
        link_atomically(folder / step_name(progress.best_steps(1)[0]), run / "best")
    kept = set()
    for state in (progress, *map(read_progress, (run / "states").glob("step_*"))):
        kept |= {step_name(step) for step in (*state.best_steps(keep), *sorted(state.scores)[-1:])}
    for old in folder.glob("step_*"):
        if old.name not in kept:
            remove(old)
