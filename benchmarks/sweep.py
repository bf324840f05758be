"""Sweep files: the trainings that `ablate.py` compares.

A sweep file holds the training that all settings have in common (it may extend a preset), the seeds, the settings
and the classifier whose features compare the images:

    training: {extends: ../../configs/demo.yaml, epochs: 5}
    classifier: evaluator/referee.safetensors
    num_images: 1000
    seeds: [0, 1, 2]
    settings:
      baseline: {}
      l1: {loss.name: l1}
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab_ddpm.evaluation.distances import NEIGHBOUR
from lab_ddpm.tools.errors import UserError
from lab_ddpm.tools.shipped import find_shipped
from lab_ddpm.training.config import TrainConfig
from lab_ddpm.training.config_parser import make_config
from lab_ddpm.training.model import check_settings
from lab_ddpm.training.presets import extended, read_mapping

_KEYS = {"training", "classifier", "num_images", "seeds", "settings"}
# What a setting may change: budget, seed and images are the same for all.
_SECTIONS = ("model", "loss", "optimizer", "sampling")
_NO_AVERAGE = ("optimizer.ema_decay", 0)


@dataclass(frozen=True)
class Sweep:
    """A sweep file.

    Attributes:
        name: Of the file.
        training: What all settings have in common: nested settings of the config.
        classifier: File of the classifier.
        num_images: Number of generated images of each model, and of real images, that are compared.
        seeds: Each setting is trained with each of them.
        settings: Name -> {dotted key of the config: value}.
    """

    name: str
    training: dict[str, Any]
    classifier: Path
    num_images: int
    seeds: list[int]
    settings: dict[str, dict[str, Any]]

    def sampled(self, setting: str, seed: int, runs_dir: Path) -> TrainConfig:
        """The config of a setting with everything that it changes; it says how images are sampled.

        Raises:
            UserError: A key that is not in the config, or one that must be the same in all settings.
        """
        for key in self.settings[setting]:
            if key.split(".")[0] not in _SECTIONS:
                raise UserError(
                    f"{self.name}: `{key}` must be the same in all settings, got it in {setting!r}; "
                    f"settings may differ in {', '.join(_SECTIONS)}"
                )
        return self._config(self.settings[setting], seed, runs_dir)

    def trained(self, setting: str, seed: int, runs_dir: Path) -> TrainConfig:
        """The config of the training behind a setting, without what only sampling reads."""
        changes = {
            key: value
            for key, value in self.settings[setting].items()
            if not (key.startswith("sampling.") or key == "model.clip_sample" or (key, value) == _NO_AVERAGE)
        }
        # without `condition_dropout`, which a setting may drop, no other guidance is possible
        return self._config(changes | {"sampling.guidance_scale": 1.0}, seed, runs_dir)

    def _config(self, changes: dict[str, Any], seed: int, runs_dir: Path) -> TrainConfig:
        name = f"{self.name}-{digest(self.training, sorted(changes.items()), seed)}"
        overrides = ["--seed", str(seed), "--runs_dir", str(runs_dir), "--name", name]
        for key, value in changes.items():
            overrides += [f"--{key}", value if isinstance(value, str) else json.dumps(value)]
        config = make_config(self.training, overrides, source=self.name)
        check_settings(config)
        return config


def read_sweep(path: str | Path) -> Sweep:
    """Read a sweep file. `extends` is relative to its folder; `classifier` is a file there or in the working folder.

    Raises:
        UserError: Naming the file and what is wrong with it.
    """
    path = find_shipped(path)
    content = read_mapping(path)
    if set(content) != _KEYS:
        raise UserError(f"{path}: a sweep must have the keys {sorted(_KEYS)}, got {sorted(map(str, content))}")
    settings, seeds, classifier = content["settings"], content["seeds"], content["classifier"]
    rules = {
        "training": (isinstance(content["training"], dict), "a mapping of settings"),
        "settings": (
            isinstance(settings, dict)
            and settings
            and all(_is_text(name) and Path(name).name == name for name in settings)
            and all(isinstance(changes, dict) and all(map(_is_text, changes)) for changes in settings.values()),
            "a mapping of at least one plain file name to a mapping of config keys",
        ),
        "seeds": (
            isinstance(seeds, list) and seeds and all(type(seed) is int and seed >= 0 for seed in seeds),
            "a list of integers from 0",
        ),
        "num_images": (
            type(content["num_images"]) is int and content["num_images"] > NEIGHBOUR,
            f"an integer of at least {NEIGHBOUR + 1}",
        ),
        "classifier": (isinstance(classifier, str), "the path of a file"),
    }
    for key, (holds, rule) in rules.items():
        if not holds:
            raise UserError(f"{path}: `{key}` must be {rule}, got {content[key]!r}")
    beside = path.parent / classifier
    file = beside if beside.is_file() else find_shipped(classifier)
    return Sweep(path.stem, extended(content["training"], path), file, content["num_images"], seeds, settings)


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def digest(*content: object) -> str:
    """Eight hexadecimal digits that depend on `content`."""
    return hashlib.sha256(json.dumps(content, default=str).encode()).hexdigest()[:8]
