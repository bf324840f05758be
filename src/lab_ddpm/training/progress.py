"""How far a run is, and its file in each state."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from lab_ddpm.tools.errors import DataError, first_line
from lab_ddpm.tools.files import read_json, write_json


@dataclass
class Progress:
    """How far a run is.

    Attributes:
        step: Optimizer steps done.
        seconds: Wall time of the steps and evaluations, over all starts of the run.
        scores: The score of each evaluated pipeline, by step. Higher is better.
        data: Fingerprint of the images and labels.
        metric: What the scores measure, as `selection` names it; empty for a new run.
        scored_by: Hash of the classifier and of the conditions of the scores; empty for none.
    """

    step: int = 0
    seconds: float = 0.0
    scores: dict[int, float] = field(default_factory=dict)
    data: str = ""
    metric: str = ""
    scored_by: str = ""

    def best_steps(self, count: int) -> list[int]:
        """The steps of the `count` best pipelines, best first. If two are equal, the later one comes first."""
        return sorted(self.scores, key=lambda step: (self.scores[step], step), reverse=True)[:count]


def write_progress(state: Path, progress: Progress) -> None:
    """Write `progress.json` into a folder of `states/`, with its checksum."""
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
            raise ValueError("the checksum does not match")
        progress = Progress(**content)
        progress.scores = {int(step): score for step, score in progress.scores.items()}
    except (TypeError, ValueError, AttributeError, KeyError) as error:
        raise DataError(f"{state / 'progress.json'}: damaged ({first_line(error)})") from None
    return progress


def _digest(content: dict[str, Any]) -> str:
    """Hash of the content as JSON reads it back, in which the steps of the scores are strings."""
    return hashlib.sha256(json.dumps(json.loads(json.dumps(content)), sort_keys=True).encode()).hexdigest()


def step_name(step: int) -> str:
    """Folder name of a step. The names sort like the numbers."""
    return f"step_{step:07d}"
